"""auto-round's metadata: read, and changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mtpfix import quant
from mtpfix.engines.vllm import metadata
from mtpfix.errors import BrokenFileError
from mtpfix.model import Json, JsonFile, QuantView
from mtpfix.quant import Change
from mtpfix.repair import patch

WHOLE: dict[str, Any] = {"quant_method": "auto-round", "bits": 4, "group_size": 32, "sym": True}
PLAIN = {"bits": 16}


def read(**changes: Any) -> QuantView:
    config = {"quantization_config": {**WHOLE, **changes}}
    place = metadata.find({"config.json": JsonFile("config.json", b"", config)})
    assert place is not None
    return metadata.read(place)


def test_keys_are_entries_with_their_places() -> None:
    view = read(extra_config={"lm_head": PLAIN, "a/b": {"bits": 8}})
    assert [e.text for e in view.ignore] == ["lm_head", "a/b"]
    assert view.ignore[1].pointer == "/quantization_config/extra_config/a~1b"
    assert view.keyed


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, []),
        ({"block_name_to_quantize": "model.layers,mtp"}, ["model.layers", "mtp"]),
        ({"block_name_to_quantize": ["model.layers"]}, ["model.layers"]),
        ({"block_name_to_quantize": ""}, [""]),
        ({"block_name_to_quantize": []}, []),
        ({"to_quant_block_names": "model.layers"}, ["model.layers"]),
        ({"block_name_to_quantize": None, "to_quant_block_names": "a"}, []),
    ],
)
def test_blocks(changes: dict[str, Any], names: list[str]) -> None:
    assert [e.text for group in read(**changes).groups for e in group.targets] == names


@pytest.mark.parametrize(
    "changes",
    [
        {"extra_config": []},
        {"extra_config": {"a": None}},
        {"extra_config": {"a": 16}},
        {"extra_config": {"a": {"bits": "16"}}},
        {"extra_config": {"a": {"bits": None}}},
        {"block_name_to_quantize": 3},
        {"block_name_to_quantize": [["a", "b"]]},
    ],
)
def test_parts_of_another_type_are_broken_files(changes: dict[str, Any]) -> None:
    with pytest.raises(BrokenFileError):
        read(**changes)


@pytest.mark.parametrize(
    "old", [{}, {"extra_config": None}, {"extra_config": {}}, {"extra_config": {"a": {"bits": 8}}}]
)
def test_keys_are_added_as_auto_round_writes_them(old: dict[str, Json]) -> None:
    view = read(**old)
    change = Change((), (r"^mtp\..*",))
    text = json.dumps({"quantization_config": {**WHOLE, **old}}).encode()
    new = json.loads(patch.apply(text, quant.edit(view, change)))["quantization_config"]
    assert new["extra_config"] == {**(old.get("extra_config") or {}), r"^mtp\..*": PLAIN}
    assert quant.changed(view, change).raw == new
