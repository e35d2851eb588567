"""MTP009 and MTP303 of the target model: names that no module takes, and quantized embeddings."""

from __future__ import annotations

import re

import pytest

from mtpfix.model import Finding
from tests.unit.engines.small import DEEPSEEK, GLM, NEWEST, Config, Tensors, tensors, with_list
from tests.unit.rules.test_rules import evidence, findings

TARGET = re.compile(r"(model\.layers\.[01]\..*experts)\.(\d+)\.(\w+)\.")


def respelled(config: Config) -> Tensors:
    """The tensors of a checkpoint that names the target's experts by matrix, then by number."""
    return {TARGET.sub(r"\1.\3.\2.", name): each for name, each in tensors(config).items()}


def found(config: Config, stored: Tensors) -> list[Finding]:
    return [f for f in findings(config, stored) if f.code in ("MTP009", "MTP303")]


@pytest.mark.parametrize(
    ("config", "error"),
    [(GLM, "AttributeError: …'w2_weight.0."), (DEEPSEEK, "KeyError: '…weight")],
    ids=["auto", "dict"],
)
def test_experts_by_other_names_end_the_load(config: Config, error: str) -> None:
    stated = with_list(config)
    report = evidence(stated, respelled(stated)).report
    assert report.outcome == "load_error"
    assert (report.error or "").startswith(error)
    assert {f.severity for f in found(stated, respelled(stated))} == {"error"}


def test_experts_that_the_loader_drops_stay_uninitialised() -> None:
    stated = with_list(GLM)
    kept = {n: e for n, e in respelled(stated).items() if ".experts.down_proj." not in n}
    assert evidence(stated, kept).report.outcome == "silent_garbage"
    (finding,) = found(stated, kept)
    assert finding.severity == "error"
    assert "stay uninitialised" in finding.message


def test_a_quantized_module_that_no_layer_has_ends_the_load() -> None:
    stated = with_list(GLM)
    extra = "model.layers.0.self_attn.extra.weight_packed"
    stored = {**tensors(stated), extra: next(iter(tensors(stated).values()))}
    (finding,) = found(stated, stored)
    assert finding.modules == (extra,)
    assert "ValueError: There is no module or parameter named" in finding.message


@pytest.mark.parametrize("suffix", ["weight", "bias"])
def test_of_what_is_not_quantized_nothing_is_said(suffix: str) -> None:
    stated = with_list(GLM)
    names = (f"model.layers.0.self_attn.extra.{suffix}", f"model.visual.blocks.0.x.{suffix}")
    entry = next(iter(tensors(stated).values()))
    assert found(stated, {**tensors(stated), **dict.fromkeys(names, entry)}) == []


def test_a_tower_that_is_not_known_is_left_alone() -> None:
    stated = with_list(GLM)
    entry = next(iter(tensors(stated).values()))
    name = "model.audio_tower.layers.0.fc1.weight_packed"
    assert found(stated, {**tensors(stated), name: entry}) == []


def test_an_embedding_that_is_never_quantized_ends_the_load() -> None:
    stated = with_list(GLM)
    stored = dict(tensors(stated))
    stored["model.embed_tokens.weight_packed"] = stored.pop("model.embed_tokens.weight")
    assert evidence(stated, stored, NEWEST).report.error == (
        "ValueError: There is no module or parameter named 'embed_tokens.weight_packed' "
        "in Glm4MoeModel"
    )
    (finding,) = found(stated, stored)
    assert finding.code == "MTP303"


def test_an_entry_for_a_target_module_is_named_where_it_helps() -> None:
    stated = with_list(GLM)
    stored = dict(tensors(stated))
    name = "model.layers.0.self_attn.o_proj"
    del stored[f"{name}.weight_scale"]
    stored[f"{name}.weight"] = ("BF16", (8, 8))
    (finding,) = (f for f in findings(stated, stored) if f.code == "MTP206")
    assert finding.message.endswith(
        " Entries in the list fix this (`mtpfix rewrite --repair-trunk`)."
    )
    assert finding.remedy == f"add `{name}` to `ignore`"
    listed = with_list(GLM, ("lm_head", name))
    assert [f for f in findings(listed, stored) if f.code == "MTP206"] == []
