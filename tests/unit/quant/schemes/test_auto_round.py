"""auto-round: keys with numbers, and blocks, planned by trial."""

from __future__ import annotations

from typing import Any

import pytest

from mtpfix.repair.plan import Plan
from tests.unit.engines.small import ALL, GLM, MIMO, QWEN_NEXT, Config, at_most
from tests.unit.quant.schemes.packed import (
    MLP,
    QWEN,
    after,
    again,
    awq_layer,
    failing,
    gptq_layer,
    planned,
    stored,
    trunk_decisions,
    without_order,
)

KEY = r"^mtp\..*"
BASE = without_order(gptq_layer())
EIGHT = without_order(gptq_layer(8))


def auto_round(config: Config = QWEN, **more: Any) -> Config:
    own = {
        "quant_method": "auto-round",
        "bits": 4,
        "group_size": 128,
        "sym": True,
        "data_type": "int",
        "packing_format": "auto_round:auto_gptq",
    }
    return {**config, "quantization_config": {**own, **more}}


# --- keys ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "size"), [(8, 128), (8, 32), (4, 64), (4, 32), (8, -1)])
def test_a_block_of_other_numbers_gets_a_key(bits: int, size: int) -> None:
    config = auto_round()
    found = stored(QWEN, BASE, without_order(gptq_layer(bits, size)))
    made = planned(config, found, ALL)
    said = {"bits": bits, "group_size": size, "sym": True}
    assert after(config, made.edits)["extra_config"] == {KEY: said}
    assert [failing(config, found, made, release) for release in ALL[-3:]] == [[], [], []]


@pytest.mark.parametrize("config", [MIMO, GLM, QWEN_NEXT], ids=lambda c: c["model_type"])
def test_layers_by_number_too(config: Config) -> None:
    found = stored(config, BASE, EIGHT)
    config = auto_round(config)
    made = planned(config, found)
    assert failing(config, found, made) == []
    assert made.schemes


def test_plain_modules_get_their_keys_beside() -> None:
    config, found = auto_round(), stored(QWEN, BASE, EIGHT, MLP)
    made = planned(config, found)
    assert failing(config, found, made) == []
    extra = after(config, made.edits)["extra_config"]
    assert {value["bits"] for value in extra.values()} == {8, 16}


def test_a_key_goes_before_a_regex_that_fits_too() -> None:
    keys = {".*in_proj_[ab]": {"bits": 16}, ".*mtp.*": {"bits": 4}}
    config, found = auto_round(extra_config=keys), stored(QWEN, BASE, EIGHT)
    made = planned(config, found)
    assert failing(config, found, made) == []
    assert list(after(config, made.edits)["extra_config"]) == [KEY, *keys]


def test_a_name_that_has_wrong_numbers_gets_others() -> None:
    name = "mtp.layers.0.mlp.down_proj"
    keys = {name: {"bits": 4, "group_size": 32, "data_type": "int"}}
    config, found = auto_round(extra_config=keys), stored(QWEN, BASE, EIGHT)
    made = planned(config, found)
    assert failing(config, found, made) == []
    said = {"bits": 8, "group_size": 128, "data_type": "int", "sym": True}
    assert after(config, made.edits)["extra_config"][name] == said


def test_a_key_that_exempts_the_block_goes() -> None:
    keys = {".*mtp.*": {"bits": 16}, "lm_head": {"bits": 16}}
    config, found = auto_round(extra_config=keys), stored(QWEN, BASE, EIGHT)
    made = planned(config, found)
    assert failing(config, found, made) == []
    assert after(config, made.edits)["extra_config"][KEY]["bits"] == 8


def test_awq_words_too() -> None:
    config = auto_round(packing_format="auto_round:auto_awq")
    found = stored(QWEN, awq_layer(), awq_layer(64))
    made = planned(config, found)
    assert failing(config, found, made) == []
    assert after(config, made.edits)["extra_config"][KEY]["group_size"] == 64


# --- blocks -------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["block_name_to_quantize", "to_quant_block_names"])
def test_a_block_that_is_not_named_is_named(key: str) -> None:
    config = auto_round(**{key: "model.layers"})
    made = planned(config, found := stored(QWEN, BASE, BASE))
    assert failing(config, found, made) == []
    assert after(config, made.edits)[key] == "model.layers,mtp."


def test_a_list_of_blocks_stays_a_list() -> None:
    config = auto_round(block_name_to_quantize=["model.layers"])
    made = planned(config, found := stored(QWEN, BASE, BASE, MLP))
    assert failing(config, found, made) == []
    blocks = after(config, made.edits)["block_name_to_quantize"]
    assert blocks == ["model.layers", "mtp.layers.0.mlp."]


def test_a_key_is_enough_for_a_block_of_other_numbers() -> None:
    config = auto_round(block_name_to_quantize="model.layers")
    made = planned(config, found := stored(QWEN, BASE, EIGHT))
    assert failing(config, found, made) == []
    assert after(config, made.edits)["block_name_to_quantize"] == "model.layers"


# --- what stays ------------------------------------------------------------------------------


def test_a_right_block_is_left_alone() -> None:
    made = planned(auto_round(), stored(QWEN, BASE, BASE), ALL)
    assert (made.edits, made.schemes) == ((), ())


def test_a_second_plan_has_nothing_to_do() -> None:
    config, found = (
        auto_round(block_name_to_quantize="model.layers"),
        stored(QWEN, BASE, EIGHT, MLP),
    )
    made = planned(config, found)
    assert made.edits
    assert again(config, found, made).edits == ()


def test_the_target_model_is_built_as_before() -> None:
    config, found = auto_round(), stored(QWEN, BASE, EIGHT, MLP)
    made = planned(config, found)
    assert trunk_decisions(config, found) == trunk_decisions(config, found, made.view)


def test_the_file_beside_says_the_same() -> None:
    config = auto_round(
        extra_config={"lm_head": {"bits": 16}}, block_name_to_quantize="model.layers"
    )
    twin = dict(config["quantization_config"])
    found = stored(QWEN, BASE, EIGHT, MLP)
    made = planned(config, found, quantization_config=twin)
    assert after(config, made.edits, quantization_config=twin) == after(
        config, made.edits, "quantization_config.json", quantization_config=twin
    )


def test_what_no_key_can_say_is_told() -> None:
    # Words of AWQ hold four bits and no more.
    config = auto_round(packing_format="auto_round:auto_awq")
    made = planned(config, stored(QWEN, awq_layer(), EIGHT))
    assert made.unresolved
    assert made.schemes == ()


# --- what a stranger may write --------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {"extra_config": {".*mtp.*": {}}},
        {"extra_config": {"(a+)+$": {"bits": 8}, "(": {"bits": 4}}},
        {"extra_config": {"mtp.fc": {"bits": 10**30, "group_size": "x", "sym": []}}},
        {"extra_config": {"-": {}, "": {}, "0": {}, "/~": {}}},
        {"group_size": None},
        {"block_name_to_quantize": ""},
        {"block_name_to_quantize": []},
        {"block_name_to_quantize": ",,"},
        {"block_name_to_quantize": None, "to_quant_block_names": ["x"]},
    ],
)
def test_strange_metadata_end_in_a_plan(more: Config) -> None:
    assert isinstance(planned(auto_round(**more), stored(QWEN, BASE, EIGHT, MLP)), Plan)


def test_thousands_of_keys_are_no_trouble() -> None:
    keys = {f"model.layers.{n}.mlp.up_proj": {"bits": 4} for n in range(5000)}
    config, found = auto_round(extra_config=keys), stored(QWEN, BASE, EIGHT)
    with at_most(60):
        made = planned(config, found)
    assert failing(config, found, made) == []
