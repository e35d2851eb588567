"""Files beside config.json that say the same as it: edited together with it, or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mtpfix import quant
from mtpfix.engines.vllm import metadata
from mtpfix.errors import BrokenFileError
from mtpfix.model import JsonFile
from mtpfix.quant import Change, Location
from mtpfix.repair import patch

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
RULE = r"-:^mtp\..*"


def edited(stated: dict[str, Any], beside: dict[str, Any], change: Change) -> dict[str, Any]:
    """What stands in both files after a change."""
    files = {"config.json": {"quantization_config": stated}, "quantize_config.json": beside}
    configs = {n: JsonFile(n, json.dumps(v, indent=1).encode(), v) for n, v in files.items()}
    view = metadata.read(Location("config.json", "/quantization_config", stated), configs)
    edits = quant.edit(view, change)
    made = {n: patch.apply(f.raw, [e for e in edits if e.file == n]) for n, f in configs.items()}
    return {name: json.loads(raw) for name, raw in made.items()}


@pytest.mark.parametrize("beside", [{"w_bit": 4}, {"modules_to_not_convert": None}])
def test_a_list_is_written_into_both(beside: dict[str, Any]) -> None:
    made = edited(AWQ, beside, Change(add=("mtp.", "lm_head")))
    assert made["config.json"]["quantization_config"]["modules_to_not_convert"] == [
        "mtp.",
        "lm_head",
    ]
    assert made["quantize_config.json"]["modules_to_not_convert"] == ["mtp.", "lm_head"]


def test_what_is_there_already_is_not_written_again() -> None:
    own = {**AWQ, "modules_to_not_convert": ["visual"]}
    made = edited(own, {"modules_to_not_convert": ["mtp.", "visual"]}, Change((0,), ("mtp.",)))
    assert made["quantize_config.json"]["modules_to_not_convert"] == ["mtp."]


@pytest.mark.parametrize("beside", [{"bits": 4}, {"dynamic": None}, {"dynamic": {}}])
def test_rules_are_written_into_both(beside: dict[str, Any]) -> None:
    made = edited(GPTQ, beside, Change(add=(RULE,)))
    assert made["config.json"]["quantization_config"]["dynamic"] == {RULE: {}}
    assert made["quantize_config.json"]["dynamic"] == {RULE: {}}


def test_a_rule_that_goes_is_taken_out_of_both() -> None:
    rules = {"+:.*": {"bits": 8}, "+:x": {"bits": 8}}
    made = edited({**GPTQ, "dynamic": rules}, {"dynamic": rules}, Change((0,), (RULE,)))
    for stated in (made["config.json"]["quantization_config"], made["quantize_config.json"]):
        assert stated["dynamic"] == {"+:x": {"bits": 8}, RULE: {}}


def test_something_else_in_its_place_is_an_error() -> None:
    with pytest.raises(BrokenFileError, match=r"quantize_config\.json: /dynamic is not an object"):
        edited(GPTQ, {"dynamic": ["x"]}, Change(add=(RULE,)))


def test_auto_round_has_a_file_of_another_name() -> None:
    stated = {"quant_method": "auto-round", "bits": 4, "group_size": 32}
    names = ("config.json", "quantization_config.json", "quantize_config.json")
    configs = {name: JsonFile(name, b"{}", {}) for name in names}
    view = metadata.read(Location("config.json", "/quantization_config", stated), configs)
    assert [twin.file for twin in view.twins] == ["quantization_config.json"]
