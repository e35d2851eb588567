"""Quantizers: their names, and exclusions in the spelling that each reads."""

from __future__ import annotations

import re
from fnmatch import fnmatch

import pytest

from mtpfix.errors import UsageError
from mtpfix.quant import recipes, tools

TRUNK = "model.layers.1.self_attn.q_proj"


def test_every_tool_writes_methods_that_have_entries() -> None:
    for name in tools.names():
        assert set(tools.tool(name).methods) <= set(recipes.names())


@pytest.mark.parametrize(
    ("name", "tool", "method"),
    [
        ("llmcompressor", "llm-compressor", "compressed-tensors"),
        ("LLM-Compressor", "llm-compressor", "compressed-tensors"),
        ("auto_round", "auto-round", "auto-round"),
        ("GPTQModel", "gptqmodel", "gptq"),
        ("nvidia-modelopt", "modelopt", "modelopt"),
        ("autoawq", "autoawq", "awq"),
        ("amd-quark", "quark", "quark"),
    ],
)
def test_a_tool_has_many_names(name: str, tool: str, method: str) -> None:
    assert tools.tool(name).name == tool
    assert tools.method_named(name) in tools.tool(tool).methods
    assert tools.method_named(tool) == method


def test_what_is_both_a_tool_and_a_method_stays_the_method() -> None:
    assert tools.method_named("modelopt") == "modelopt"
    assert tools.method_for(tools.tool("modelopt"), None) == "modelopt_fp4"
    assert tools.method_for(tools.tool("modelopt"), "modelopt") == "modelopt"
    assert tools.method_named("fp8") == "fp8"


def test_a_tool_writes_its_own_methods_alone() -> None:
    assert tools.method_for(tools.tool("gptqmodel"), "gptqmodel") == "gptq"
    with pytest.raises(UsageError, match="GPTQModel does not write the method 'awq'"):
        tools.method_for(tools.tool("gptqmodel"), "awq")
    with pytest.raises(UsageError, match="does not know the tool 'bitsandbytes'"):
        tools.tool("bitsandbytes")


def read_by_auto_round(pattern: str) -> str:
    """As auto-round 0.16.1 makes a regex of a key: it escapes each dot that no `.*` holds."""
    parts = pattern.split(".*")
    return ".*".join(part.replace(".", r"\.") for part in parts)


@pytest.mark.parametrize(
    ("entry", "fits"),
    [
        (r"^mtp\..*", "mtp.fc"),
        (r"^model\.layers\.2\..*", "model.layers.2.eh_proj"),
        (r"^model\.decoder\.mlp\.experts(\..*)?$", "model.decoder.mlp.experts.0.up_proj"),
    ],
)
def test_auto_round_is_given_patterns_that_survive_its_escaping(entry: str, fits: str) -> None:
    (spelled,) = tools.tool("auto-round").spelled(entry)
    for pattern in (spelled, read_by_auto_round(spelled)):  # the engine's reading, and its own
        assert re.search(pattern, fits)
        assert not re.search(pattern, "model.layers.22.eh_proj")
        assert not re.search(pattern, TRUNK)
    assert not re.search(read_by_auto_round(entry), fits), "nothing would have to be done"


@pytest.mark.parametrize(
    ("entry", "spelled"),
    [
        (r"re:^mtp\..*", ("mtp.*",)),
        (
            r"re:^model\.decoder\.mlp\.experts(\..*)?$",
            (*("model.decoder.mlp.experts" + end for end in ("", ".*")),),
        ),
        (r"re:^model\.eh_proj$", ("model.eh_proj",)),
        ("model.mtp_linear_proj.0", ("model.mtp_linear_proj.0",)),
    ],
)
def test_quark_reads_wildcards(entry: str, spelled: tuple[str, ...]) -> None:
    assert tools.tool("quark").spelled(entry) == spelled


@pytest.mark.parametrize("entry", ["mtp.*", "model.layers.2.*", "mtp.fc", "[m]tp.*"])
def test_modelopt_compares_names_of_quantizers(entry: str) -> None:
    (spelled,) = tools.tool("modelopt").spelled(entry)
    quantizer = (
        "model.layers.2.eh_proj.weight_quantizer" if "layers" in entry else "mtp.fc.input_quantizer"
    )
    assert fnmatch(quantizer, spelled)
    assert not fnmatch(f"{TRUNK}.weight_quantizer", spelled)


def test_what_each_takes() -> None:
    def taken(name: str, *entries: str) -> object:
        return tools.tool(name).exclusions(entries)

    assert taken("llm-compressor", r"re:^mtp\..*") == ["lm_head", r"re:^mtp\..*"]
    assert taken("gptqmodel", r"-:^mtp\..*") == {r"-:^mtp\..*": {}}
    assert taken("modelopt", "mtp.*") == [{"quantizer_name": "mtp.*", "enable": False}]
    assert taken("autoawq", "mtp.") == ["mtp."]
    assert list(taken("auto-round", r"^mtp\..*")) == ["^mtp[.].*"]  # type: ignore[call-overload]


def test_a_tool_that_spells_entries_otherwise_is_found_by_its_method() -> None:
    found = {m: tools.spelled_otherwise(m) for m in ("auto-round", "modelopt", "gptq", "fp8")}
    assert {method: each and each.name for method, each in found.items()} == {
        "auto-round": "auto-round",
        "modelopt": "modelopt",
        "gptq": None,
        "fp8": None,
    }
