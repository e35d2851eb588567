"""AWQ and fp8: entries that take the scheme from an MTP block go, or give way to names."""

from __future__ import annotations

from typing import Any

import pytest

from mtpfix.repair.plan import Plan
from tests.unit.engines.small import GLM, QWEN_NEXT, Config, at_most
from tests.unit.quant.schemes.packed import (
    QWEN,
    after,
    again,
    awq_layer,
    failing,
    planned,
    stored,
    trunk_decisions,
)

LAYER = awq_layer()
LIST = "modules_to_not_convert"


def awq(config: Config, *entries: str, **more: Any) -> Config:
    own = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
    return {**config, "quantization_config": {**own, LIST: list(entries), **more}}


@pytest.mark.parametrize("config", [QWEN, GLM, QWEN_NEXT], ids=lambda c: c["model_type"])
@pytest.mark.parametrize("entry", ["self_attn", "self_attn.", "attn.o_proj"])
def test_an_entry_that_the_target_model_needs_gives_way(config: Config, entry: str) -> None:
    found = stored(config, LAYER, LAYER, plain=(entry,))
    config = awq(config, "lm_head", entry)
    made = planned(config, found)
    assert failing(config, found, made) == []
    new = after(config, made.edits)[LIST]
    assert entry not in new
    assert "lm_head" in new
    assert all(entry.removesuffix(".") in name and "layers." in name for name in new[1:])
    assert trunk_decisions(config, found) == trunk_decisions(config, found, made.view)
    assert made.schemes


def test_an_entry_for_the_block_alone_just_goes() -> None:
    config, found = awq(QWEN, "lm_head", "mtp"), stored(QWEN, LAYER, LAYER)
    made = planned(config, found)
    assert failing(config, found, made) == []
    assert (made.removed, made.schemes) == (("mtp",), ())


def test_layer_two_is_not_layer_twenty() -> None:
    config: Config = {**GLM, "num_hidden_layers": 21, "first_k_dense_replace": 30}
    found = stored(config, LAYER, LAYER, plain=("self_attn",))
    config = awq(config, "self_attn")
    made = planned(config, found)
    assert failing(config, found, made) == []
    assert len(after(config, made.edits)[LIST]) == 21


def test_the_file_beside_says_the_same() -> None:
    config = awq(QWEN, "lm_head", "self_attn")
    twin = dict(config["quantization_config"])
    found = stored(QWEN, LAYER, LAYER, plain=("self_attn",))
    made = planned(config, found, quant_config=twin)
    assert after(config, made.edits, quant_config=twin) == after(
        config, made.edits, "quant_config.json", quant_config=twin
    )


def test_a_second_plan_has_nothing_to_do() -> None:
    config = awq(QWEN, "self_attn")
    found = stored(QWEN, LAYER, LAYER, plain=("self_attn",))
    assert again(config, found, planned(config, found)).edits == ()


def test_numbers_of_their_own_are_beyond_awq() -> None:
    config, found = awq(QWEN, "lm_head"), stored(QWEN, LAYER, awq_layer(64))
    made = planned(config, found)
    assert made.unresolved
    assert made.edits == ()


@pytest.mark.parametrize("entries", [("",), ("mtp", "mtp", "m"), ("o", "proj", "."), ("(",)])
def test_strange_lists_end_in_a_plan(entries: tuple[str, ...]) -> None:
    found = stored(QWEN, LAYER, LAYER, plain=("self_attn",))
    assert isinstance(planned(awq(QWEN, *entries), found), Plan)


def test_long_lists_are_no_trouble() -> None:
    names = [f"model.layers.{n}.mlp.experts.{m}" for n in range(60) for m in range(300)]
    config = awq(QWEN, *names, "self_attn")
    found = stored(QWEN, LAYER, LAYER, plain=("self_attn",))
    with at_most(60):
        made = planned(config, found)
    assert failing(config, found, made) == []
