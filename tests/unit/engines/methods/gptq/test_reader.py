"""GPTQ: where its rules and its list stand, and what may not stand there."""

from __future__ import annotations

from typing import Any

import pytest

from mtpfix import quant
from mtpfix.engines.vllm import metadata
from mtpfix.errors import BrokenFileError
from mtpfix.model import Edit, QuantView
from mtpfix.quant import Change, Location

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
ROOT = "/quantization_config"


def read(**fields: Any) -> QuantView:
    return metadata.read(Location("config.json", ROOT, {**GPTQ, **fields}))


def test_rules_are_read_in_their_order() -> None:
    view = read(dynamic={"+:b/c": {"bits": 8}, "-:a": {}})
    assert [(e.text, e.pointer) for e in view.ignore] == [
        ("+:b/c", f"{ROOT}/dynamic/+:b~1c"),
        ("-:a", f"{ROOT}/dynamic/-:a"),
    ]


@pytest.mark.parametrize(
    ("blocks", "wanted"),
    [
        (None, []),
        ([], []),
        (["a", "b"], [("a", "0"), ("b", "1")]),
        ([["a"], ["b", "c"], []], [("a", "0/0"), ("b", "1/0"), ("c", "1/1")]),
    ],
)
def test_the_list_may_be_nested(blocks: Any, wanted: list[tuple[str, str]]) -> None:
    (group,) = read(modules_in_block_to_quantize=blocks).groups
    base = f"{ROOT}/modules_in_block_to_quantize"
    assert [(e.text, e.pointer) for e in group.targets] == [(t, f"{base}/{p}") for t, p in wanted]


@pytest.mark.parametrize("dynamic", [None, {}, {"+:a": {"bits": 8}}])
def test_a_rule_is_added_at_the_end(dynamic: Any) -> None:
    view = read(dynamic=dynamic)
    change = Change(add=("-:mtp",))
    assert quant.changed(view, change).raw["dynamic"] == {**(dynamic or {}), "-:mtp": {}}
    assert all(edit.file == "config.json" for edit in quant.edit(view, change))


def test_a_rule_goes_by_its_key() -> None:
    view = read(dynamic={"+:a/b": {"bits": 8}})
    assert quant.edit(view, Change((0,))) == (
        Edit("config.json", f"{ROOT}/dynamic/+:a~1b", "remove"),
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"dynamic": ["-:a"]},
        {"dynamic": "x"},
        {"dynamic": 1},
        {"modules_in_block_to_quantize": "x"},
        {"modules_in_block_to_quantize": {"a": 1}},
        {"modules_in_block_to_quantize": [1]},
        {"modules_in_block_to_quantize": ["a", ["b"]]},
        {"modules_in_block_to_quantize": [[["a"]]]},
    ],
)
def test_anything_else_is_broken(fields: dict[str, Any]) -> None:
    with pytest.raises(BrokenFileError):
        read(**fields)
