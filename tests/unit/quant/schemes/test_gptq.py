"""GPTQ: rules with numbers, and the list of what is quantized, planned by trial."""

from __future__ import annotations

from typing import Any

import pytest

from mtpfix.repair.plan import Plan
from tests.unit.engines.small import ALL, GLM, MIMO, NEWEST, Config, at_most
from tests.unit.quant.schemes.packed import (
    MLP,
    QWEN,
    after,
    again,
    failing,
    gptq_layer,
    planned,
    stored,
    trunk_decisions,
    without_order,
)

RULE = r"+:^mtp\..*"
BASE = gptq_layer()
LIST = [["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"],
        ["linear_attn"], ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]]  # fmt: skip
PLAIN = ("in_proj_ba", "in_proj_a", "in_proj_b")


def gptq(config: Config = QWEN, **more: Any) -> Config:
    own = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
    return {**config, "quantization_config": {**own, **more}}


# --- rules ------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "size"), [(8, 128), (8, 32), (4, 64), (4, 32), (8, -1)])
def test_a_block_of_other_numbers_gets_a_rule(bits: int, size: int) -> None:
    config, found = gptq(), stored(QWEN, BASE, gptq_layer(bits, size))
    made = planned(config, found, ALL)
    assert after(config, made.edits)["dynamic"] == {RULE: {"bits": bits, "group_size": size}}
    assert [failing(config, found, made, release) for release in ALL[-3:]] == [[], [], []]
    assert made.schemes
    assert not made.unresolved


@pytest.mark.parametrize("config", [MIMO, GLM], ids=lambda c: c["model_type"])
def test_layers_by_number_too(config: Config) -> None:
    layer = without_order(gptq_layer(8, 64))
    found = stored(config, without_order(BASE), layer)
    config = gptq(config)
    made = planned(config, found)
    assert failing(config, found, made) == []
    assert len(after(config, made.edits)["dynamic"]) == 1


def test_plain_modules_need_no_rule_where_headers_are_read() -> None:
    config, found = gptq(), stored(QWEN, BASE, gptq_layer(8), MLP)
    made = planned(config, found)
    assert failing(config, found, made) == []
    assert made.added == ()


def test_a_rule_goes_before_one_that_fits_too() -> None:
    rules = {"-:.*visual.*": {}, "+:.*mtp.*": {"bits": 4}, "+:.*nothing.*": {"bits": 8}}
    config, found = gptq(dynamic=rules), stored(QWEN, BASE, gptq_layer(8))
    made = planned(config, found)
    assert failing(config, found, made) == []
    assert list(after(config, made.edits)["dynamic"]) == [RULE, *rules]


def test_a_rule_goes_behind_others_where_none_fits() -> None:
    rules = {"-:.*visual.*": {}, "-:.*lm_head": {}}
    config, found = gptq(dynamic=rules), stored(QWEN, BASE, gptq_layer(8))
    made = planned(config, found)
    assert list(after(config, made.edits)["dynamic"]) == [*rules, RULE]


@pytest.mark.parametrize("dynamic", [None, {}])
def test_rules_where_there_were_none(dynamic: Any) -> None:
    config, found = gptq(dynamic=dynamic), stored(QWEN, BASE, gptq_layer(8))
    made = planned(config, found)
    assert failing(config, found, made) == []


def test_a_wrong_rule_of_that_name_gets_other_numbers() -> None:
    config = gptq(dynamic={RULE: {"bits": 4, "group_size": 32}})
    found = stored(QWEN, BASE, gptq_layer(8, 64))
    made = planned(config, found)
    assert after(config, made.edits)["dynamic"] == {RULE: {"bits": 8, "group_size": 64}}


def test_a_rule_that_skips_the_block_and_its_numbers() -> None:
    config = gptq(dynamic={"-:.*mtp.*": {}, "-:.*visual.*": {}})
    found = stored(QWEN, BASE, gptq_layer(8))
    made = planned(config, found)
    assert failing(config, found, made) == []
    dynamic = after(config, made.edits)["dynamic"]
    assert dynamic[RULE]["bits"] == 8
    assert dynamic["-:.*visual.*"] == {}


# --- the list ----------------------------------------------------------------------------


def test_a_list_that_is_too_narrow_gets_a_name() -> None:
    config = gptq(modules_in_block_to_quantize=LIST)
    found = stored(QWEN, BASE, BASE, plain=PLAIN)
    made = planned(config, found)
    assert failing(config, found, made) == []
    assert after(config, made.edits)["modules_in_block_to_quantize"] == [*LIST, ["mtp.fc"]]


def test_a_flat_list_stays_flat() -> None:
    flat = [name for names in LIST for name in names]
    config = gptq(modules_in_block_to_quantize=flat)
    made = planned(config, stored(QWEN, BASE, BASE, plain=PLAIN))
    assert after(config, made.edits)["modules_in_block_to_quantize"] == [*flat, "mtp.fc"]


def test_a_list_and_a_rule_together() -> None:
    config = gptq(modules_in_block_to_quantize=LIST)
    found = stored(QWEN, BASE, gptq_layer(8), plain=PLAIN)
    made = planned(config, found)
    metadata = after(config, made.edits)
    assert failing(config, found, made) == []
    assert list(metadata["dynamic"]) == [RULE]
    assert metadata["modules_in_block_to_quantize"][:-1] == LIST


def test_a_list_that_is_too_wide_names_the_target_model() -> None:
    # A `-:` rule for a part of the block would exempt all of it from 0.27 on.
    config = gptq(modules_in_block_to_quantize=LIST)
    found = stored(QWEN, BASE, gptq_layer(8), MLP, plain=PLAIN)
    made = planned(config, found)
    assert failing(config, found, made) == []
    (names,) = after(config, made.edits)["modules_in_block_to_quantize"]
    assert "model.layers.1.self_attn.q_proj" in names
    assert "self_attn.q_proj" not in names
    assert "mlp.up_proj" in names


# --- what stays --------------------------------------------------------------------------


def test_a_right_block_is_left_alone() -> None:
    made = planned(gptq(), stored(QWEN, BASE, BASE), ALL)
    assert (made.edits, made.schemes) == ((), ())


@pytest.mark.parametrize("more", [{}, {"modules_in_block_to_quantize": LIST}])
def test_a_second_plan_has_nothing_to_do(more: Config) -> None:
    config, found = gptq(**more), stored(QWEN, BASE, gptq_layer(8), MLP, plain=PLAIN)
    made = planned(config, found)
    assert made.edits
    assert again(config, found, made).edits == ()


@pytest.mark.parametrize("more", [{}, {"modules_in_block_to_quantize": LIST}])
def test_the_target_model_is_built_as_before(more: Config) -> None:
    config, found = gptq(**more), stored(QWEN, BASE, gptq_layer(8), MLP, plain=PLAIN)
    made = planned(config, found)
    assert trunk_decisions(config, found) == trunk_decisions(config, found, made.view)


def test_the_file_beside_says_the_same() -> None:
    config = gptq(dynamic={"-:.*visual.*": {}})
    twin = dict(config["quantization_config"])
    found = stored(QWEN, BASE, gptq_layer(8))
    made = planned(config, found, quantize_config=twin)
    assert after(config, made.edits, quantize_config=twin) == after(
        config, made.edits, "quantize_config.json", quantize_config=twin
    )


def test_experts_that_rules_do_not_reach_are_left_alone() -> None:
    # MoeWNA16 takes experts of this width, and ignores rules.
    config = gptq({**GLM, "hidden_size": 100})
    layer = without_order(gptq_layer(8))
    made = planned(config, stored(GLM, without_order(BASE), layer))
    assert "model.layers.2.mlp.experts" in {stays.module for stays in made.unresolved}


# --- what a stranger may write -------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {"dynamic": {"+:.*mtp.*": {}}},
        {"dynamic": {"+:.*mtp.*": {"bits": "8"}}},
        {"dynamic": {"+:.*mtp.*": {"bits": 10**30, "group_size": -(10**30)}}},
        {"dynamic": {"+:.*mtp.*": False}},
        {"dynamic": {"+:.*mtp.*": 7}},
        {"dynamic": {"+:(a+)+$": {"bits": 8}, "-:(": {}}},
        {"dynamic": {"-": {}, "": {}, "0": {}, "/~": {}}},
        {"bits": "4"},
        {"bits": 10**20},
        {"group_size": None},
        {"modules_in_block_to_quantize": []},
        {"modules_in_block_to_quantize": [[]]},
        {"modules_in_block_to_quantize": ["", "mtp"]},
        {"modules_in_block_to_quantize": [[""], ["proj"]]},
    ],
)
def test_strange_metadata_end_in_a_plan(more: Config) -> None:
    found = stored(QWEN, BASE, gptq_layer(8), MLP)
    assert isinstance(planned(gptq(**more), found), Plan)


def test_thousands_of_rules_are_no_trouble() -> None:
    rules = {f"+:^model\\.layers\\.{n}\\..*": {"bits": 4} for n in range(3000)}
    config, found = gptq(dynamic=rules), stored(QWEN, BASE, gptq_layer(8))
    with at_most(60):
        made = planned(config, found)
    assert failing(config, found, made) == []


def test_long_lists_are_no_trouble() -> None:
    names = [f"model.layers.{n}.mlp.experts.{m}.up_proj" for n in range(60) for m in range(300)]
    config = gptq(modules_in_block_to_quantize=[*names, "self_attn", "mlp", "linear_attn"])
    found = stored(QWEN, BASE, gptq_layer(8), plain=PLAIN)
    with at_most(60):
        planned(config, found, (NEWEST,))
