"""Names before calibrating."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import mtpfix
from mtpfix import recipe as advising
from mtpfix.errors import MtpfixError, UnknownError, UsageError
from mtpfix.model import Platform
from mtpfix.recipe import Names
from mtpfix.repair.plan import Options
from mtpfix.report import names as renderer
from mtpfix.report.names import yaml
from mtpfix.selection import select
from tests.unit.engines.small import (
    ALL,
    DEEPSEEK,
    DEEPSEEK_V4,
    GLM,
    MIMO,
    QWEN_NEXT,
    Config,
    at_most,
    tensors,
    with_list,
    write,
)
from tools import tiny

ENGINE_ONLY = Options(engine_names_only=True)


def advise(
    config: Config,
    *,
    vllm: Iterable[str] | None,
    platforms: Iterable[Platform] | None,
    options: Options,
    method: str = "compressed-tensors",
) -> Names:
    selection = select(vllm=vllm, platforms=platforms)
    return advising.advise(config, selection, options=options, method=method)


def advice(config: Config, *vllm: str, options: Options = ENGINE_ONLY) -> Names:
    return advise(config, vllm=vllm or ("all",), platforms=("cuda",), options=options)


@pytest.mark.parametrize(
    ("config", "entries"),
    [
        (GLM, (r"re:^model\.layers\.2\..*",)),
        (DEEPSEEK, (r"re:^model\.layers\.2\..*",)),
        (MIMO, (r"re:^model\.layers\.2\..*",)),
        (QWEN_NEXT, (r"re:^mtp\..*",)),
        (DEEPSEEK_V4, (r"re:^model\.layers\.2\..*",)),
    ],
)
def test_the_entries_exempt_the_block_in_all_releases(
    config: Config, entries: tuple[str, ...]
) -> None:
    assert advice(config).entries == entries


def test_other_readers_get_the_spelling_of_the_disk() -> None:
    entries = advice(MIMO, options=Options()).entries
    assert entries == (r"re:^model\.layers\.2\..*", r"re:^model\.mtp_layers\.0\..*")


def test_a_release_without_the_empty_name_needs_no_entry_for_it() -> None:
    assert advice(DEEPSEEK_V4, ">=0.24").entries == (r"re:^model\.layers\.2\..*",)


def test_the_names_are_those_that_the_matcher_compares() -> None:
    (group,) = advice(GLM, "0.33").groups
    qkv = next(named for named in group[1] if named.module.name.endswith("qkv_proj"))
    attn = "model.layers.2.self_attn"
    assert qkv.asked == tuple(f"{attn}.{n}_proj" for n in ("qkv", "q", "k", "v"))


def test_every_release_is_in_one_group() -> None:
    found = advice(DEEPSEEK_V4)
    assert found.family == "deepseek_v4"
    named = [r if isinstance(r, str) else r[0] for group in found.groups for r in group[0]]
    assert set(named) == set(ALL)


def test_releases_that_name_alike_are_together() -> None:
    assert len(advice(MIMO).groups) == 1


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"architectures": ["Unheard"]}, "MTP904"),
        ({}, "MTP904"),
        ({**GLM, "num_nextn_predict_layers": 0}, "MTP904"),
        ({**GLM, "num_nextn_predict_layers": -1}, "MTP904"),
        ({**GLM, "num_nextn_predict_layers": 10**9}, "MTP904"),
        ({**GLM, "num_hidden_layers": "2"}, "MTP904"),
        ({**GLM, "num_hidden_layers": None}, "MTP904"),
        ({**GLM, "n_routed_experts": 10**9}, "MTP904"),
    ],
)
def test_there_is_no_advice_on(config: Config, code: str) -> None:
    with pytest.raises(UnknownError) as caught:
        advice(config)
    assert caught.value.code == code


def test_a_model_of_absurd_size_is_refused_soon() -> None:
    config = {**GLM, "num_hidden_layers": 4096, "n_routed_experts": 1 << 16}
    with at_most(1), pytest.raises(MtpfixError):
        advice(config, "0.33")


def test_a_configuration_is_enough(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(GLM), encoding="utf-8")
    for target in (tmp_path, tmp_path / "config.json", str(tmp_path)):
        names = mtpfix.names_of(target, options=ENGINE_ONLY)
        assert names.entries == (r"re:^model\.layers\.2\..*", r"re:^model\.decoder\..*")


@pytest.mark.parametrize("value", [[1], None, "x"])
def test_a_configuration_that_is_no_object_is_an_error(tmp_path: Path, value: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(MtpfixError):
        mtpfix.names_of(tmp_path)


def test_a_configuration_of_another_name_is_not_mistaken_for_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(QWEN_NEXT), encoding="utf-8")
    other = tmp_path / "other.json"
    other.write_text(json.dumps(GLM), encoding="utf-8")
    with pytest.raises(UsageError):
        mtpfix.names_of(other, options=ENGINE_ONLY)


def test_what_exempts_the_imagined_block_exempts_the_real_one(tmp_path: Path) -> None:
    config = with_list(GLM, advice(GLM).entries)
    assert mtpfix.check(write(tmp_path / "model", config, tensors(config)), vllm=ALL).exit_code == 0


@pytest.mark.parametrize(
    ("method", "entries"),
    [
        ("awq", ("model.layers.2.", "model.mtp_layers.0.")),
        ("gptq", (r"-:^model\.layers\.2\..*", r"-:^model\.mtp_layers\.0\..*")),
        ("modelopt", ("model.layers.2.*", "model.mtp_layers.0.*")),
    ],
)
def test_entries_are_spelled_for_the_method(method: str, entries: tuple[str, ...]) -> None:
    found = advise(MIMO, vllm=("all",), platforms=("cuda",), options=Options(), method=method)
    assert found.entries == entries


def test_a_method_without_a_list_has_no_entries() -> None:
    with pytest.raises(UsageError, match="cannot name entries for the method 'mxfp4'"):
        advise(GLM, vllm=("all",), platforms=("cuda",), options=Options(), method="mxfp4")


BUILT = {"step3p5": "sliding_draft"}
"""Variants that the newest release builds, where it does not build the plain one."""


@pytest.mark.parametrize("method", ["awq", "gptq"])
def test_every_family_with_a_draft_that_asks_has_entries(method: str) -> None:
    bare = []
    for family in tiny.families():
        config = tiny.config(family, BUILT.get(family, tiny.BASE))
        if not advise(
            config, vllm=("newest",), platforms=("cuda",), options=ENGINE_ONLY, method=method
        ).entries:
            bare.append(family)
    # The one finds no metadata of these methods, the other builds its draft without any.
    assert bare == ["nemotron_h_vl", "nemotron_parse"]


def test_keyed_entries_are_written_with_their_value() -> None:
    found = advise(GLM, vllm=("newest",), platforms=("cuda",), options=ENGINE_ONLY, method="gptq")
    assert renderer.yaml(found) == "dynamic:\n  '-:^model\\.layers\\.2\\..*': {}\n"


MODELOPT = ("modelopt", "modelopt_fp4", "modelopt_mxfp8")
WITHOUT_A_BLOCK = ("nemotron_parse",)
"""Families whose draft asks for nothing but its head."""


@pytest.mark.parametrize("method", MODELOPT)
def test_every_family_has_entries_under_modelopt(method: str) -> None:
    for family in set(tiny.families()) - set(WITHOUT_A_BLOCK):
        found = advise(
            tiny.config(family, BUILT.get(family, tiny.BASE)),
            vllm=("all",),
            platforms=("cuda",),
            options=Options(),
            method=method,
        )
        assert found.entries, family
        for entry in found.entries:
            assert not entry.endswith("*") or entry.endswith(".*")  # 61 is no beginning of 610


def test_a_layer_without_an_algorithm_needs_no_entry() -> None:
    found = advise(
        GLM, vllm=("all",), platforms=("cuda",), options=ENGINE_ONLY, method="modelopt_mixed"
    )
    assert found.entries == ()
    assert yaml(found).endswith("\nignore: []\n")


def test_the_empty_name_of_old_releases_has_an_entry_where_one_is_chosen() -> None:
    chosen = Options(engine_names_only=True, chosen_releases=True)
    assert advice(DEEPSEEK_V4, "0.23.0", options=chosen).entries[-1] == "re:^$"


def test_deepseek_v4_is_never_named_under_fp8_by_an_empty_entry() -> None:
    chosen = Options(engine_names_only=True, chosen_releases=True)
    old, new = (
        advise(DEEPSEEK_V4, vllm=vllm, platforms=("cuda",), options=chosen, method="fp8")
        for vllm in (("0.23.0",), ("newest",))
    )
    assert ("" in old.entries, "" in new.entries) == (False, False)
    assert "model.layers.2.e_proj" in new.entries
    assert new.key == "ignored_layers"


# --- what decides -----------------------------------------------------------------------------


def test_older_releases_that_no_entry_serves_are_told_and_do_not_decide() -> None:
    found = advise(DEEPSEEK_V4, vllm=None, platforms=None, options=ENGINE_ONLY)
    assert (found.exit_code, found.decisive) == (0, ("vLLM 0.34.0 (cuda)",))
    assert "vLLM 0.29.0 (cuda)" in found.unserved
    assert not set(found.decisive) & set(found.unserved)
    shown = renderer.text(found, 100, color=False, ascii=False)
    assert "# These entries are right for vLLM 0.34 on cuda" in shown
    assert "# They are not right for vLLM" in shown


def test_with_a_selection_all_of_it_must_be_right() -> None:
    found = advise(DEEPSEEK_V4, vllm=["all"], platforms=["cuda"], options=ENGINE_ONLY)
    assert found.exit_code == 1
    assert set(found.unserved) <= set(found.decisive)
    newest = advise(DEEPSEEK_V4, vllm=["newest"], platforms=["cuda"], options=ENGINE_ONLY)
    assert (newest.exit_code, newest.unserved) == (0, ())


# --- both engines ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "entries"),
    [
        ("compressed-tensors", (r"re:^model\.layers\.2\..*", r"re:^model\.decoder\..*")),
        ("modelopt_fp4", ("model.layers.2.*",)),
        ("auto-round", (r"^model\.layers\.2\..*", r"^model\.decoder\..*")),
    ],
)
def test_one_list_names_the_block_for_both_engines(method: str, entries: tuple[str, ...]) -> None:
    found = advise(GLM, vllm=None, platforms=("cuda",), options=ENGINE_ONLY, method=method)
    assert (found.entries, found.engines) == (entries, ("vLLM", "SGLang"))
    assert (found.exit_code, found.unserved, found.other_lists) == (0, (), ())


def test_one_engine_is_named_alone() -> None:
    found = advising.advise(GLM, select(sglang=["0.5.23"]), options=ENGINE_ONLY)
    assert (found.entries, found.engines) == ((r"re:^model\.decoder\..*",), ("SGLang",))


def test_an_engine_that_no_list_serves_has_no_entries_and_is_told() -> None:
    found = advise(QWEN_NEXT, vllm=None, platforms=("cuda",), options=ENGINE_ONLY)
    assert found.entries == (r"re:^mtp\..*",)
    assert found.exit_code == 0
    assert "SGLang 0.5.23" in found.unserved


MIXED = "modelopt_mixed"


def test_an_engine_that_reads_another_list_is_told() -> None:
    found = advise(GLM, vllm=None, platforms=("cuda",), options=ENGINE_ONLY, method=MIXED)
    assert (found.engines, found.other_lists) == (("vLLM",), ("sglang",))
    shown = renderer.text(found, 100, color=False, ascii=False)
    assert "# SGLang reads another list: `--engine sglang` names its entries." in shown


# --- a block that is to be quantized ---------------------------------------------------------


@pytest.mark.parametrize("stored", ["fp8-block", "w4a16", "nvfp4", "mxfp8"])
@pytest.mark.parametrize("config", [GLM, DEEPSEEK, MIMO, QWEN_NEXT], ids=lambda c: c["model_type"])
def test_the_group_that_a_recipe_should_write(config: Config, stored: str) -> None:
    selection = select(vllm=("0.32.0",), platforms=("cuda",))
    found = advising.advise(config, selection, options=ENGINE_ONLY, stored=stored)
    assert (found.exit_code, found.unserved, found.stored) == (0, (), stored)
    assert list(found.metadata["config_groups"]) in (["mtp"], ["group_0", "mtp"])
    assert json.loads(yaml(found)) == found.metadata


def test_what_the_method_builds_anyway_needs_no_group() -> None:
    config = with_list(GLM)
    selection = select(vllm=("0.32.0",), platforms=("cuda",))
    found = advising.advise(config, selection, options=ENGINE_ONLY, stored="fp8-tensor")
    assert found.metadata is None


RULE = r"^model\.layers\.2\..*"


@pytest.mark.parametrize(
    ("method", "stored", "said"),
    [
        ("auto-round", "w8a16", {"extra_config": {RULE: {"bits": 8, "group_size": 128}}}),
        ("gptq", "w8a16", {"dynamic": {f"+:{RULE}": {"bits": 8, "group_size": 128}}}),
        ("modelopt", "nvfp4", {"quant_algo": "MIXED_PRECISION"}),
        ("modelopt_fp4", "fp8-tensor", {"quant_algo": "MIXED_PRECISION"}),
        ("modelopt_mxfp8", "nvfp4", {"quant_algo": "MIXED_PRECISION"}),
        ("modelopt_mixed", "mxfp8", {}),
        ("quark", "fp8-block", {"layer_quant_config": {"model.layers.2.*": {}}}),
        ("quark", "mxfp4", {"layer_quant_config": {"model.layers.2.*": {}}}),
    ],
)
def test_what_a_recipe_of_another_method_should_write(
    method: str, stored: str, said: dict[str, Any]
) -> None:
    release = "0.28.0" if method == "gptq" else "0.32.0"  # 0.30 has no place for `g_idx`
    selection = select(vllm=(release,), platforms=("cuda",))
    found = advising.advise(GLM, selection, options=ENGINE_ONLY, method=method, stored=stored)
    assert (found.exit_code, found.unserved) == (0, ())
    assert holds(found.metadata, said)
    if method == "modelopt_mixed":
        rows = found.metadata["quantized_layers"]
        assert {row["quant_algo"] for row in rows.values()} == {"MXFP8"}


def holds(found: Any, said: dict[str, Any]) -> bool:
    """Whether a value has some keys, with their values."""
    return all(
        holds(found[key], value) if isinstance(value, dict) else found[key] == value
        for key, value in said.items()
    )


@pytest.mark.parametrize(
    ("method", "stored"),
    [("awq", "w4a16"), ("fp8", "fp8-block"), ("modelopt", "fp8-tensor"), ("quark", "fp8-tensor")],
)
def test_the_scheme_of_the_trunk_needs_no_metadata(method: str, stored: str) -> None:
    selection = select(vllm=("0.32.0",), platforms=("cuda",))
    found = advising.advise(GLM, selection, options=ENGINE_ONLY, method=method, stored=stored)
    assert (found.exit_code, found.metadata) == (0, None)


def test_what_no_metadata_give_is_not_called_right() -> None:
    selection = select(vllm=("0.32.0",), platforms=("cuda",))
    for method, stored in (("gptq", "w8a16"), ("modelopt", "fp8-channel")):
        found = advising.advise(GLM, selection, options=ENGINE_ONLY, method=method, stored=stored)
        assert (found.exit_code, found.unserved) == (1, ("0.32.0",))


@pytest.mark.parametrize(
    ("method", "hint"),
    [
        ("compressed-tensors", "choose one of: fp8-block"),
        ("awq", "choose one of: w4a16"),
        ("torchao", "choose a method that it knows: auto-round, awq"),
    ],
)
def test_a_way_that_a_method_lacks_is_told(method: str, hint: str) -> None:
    selection = select(vllm=("0.32.0",), platforms=("cuda",))
    with pytest.raises(UsageError, match="does not know how") as raised:
        advising.advise(GLM, selection, options=ENGINE_ONLY, method=method, stored="int1")
    assert raised.value.remedy is not None
    assert hint in raised.value.remedy
