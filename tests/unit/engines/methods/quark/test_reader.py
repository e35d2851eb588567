"""quark's metadata: read, and changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mtpfix import quant
from mtpfix.engines.vllm import metadata
from mtpfix.errors import BrokenFileError
from mtpfix.model import JsonFile, QuantView
from mtpfix.quant import Change
from mtpfix.repair import patch

WHOLE: dict[str, Any] = {
    "quant_method": "quark",
    "export": {"kv_cache_group": [], "pack_method": "reorder"},
    "global_quant_config": {"weight": {"dtype": "fp8_e4m3"}},
    "layer_quant_config": {"*o_proj": {"weight": None}, "a/b~c": {}},
    "layer_type_quant_config": {},
    "exclude": ["lm_head", "re:.*gate$"],
}


def read(**changes: Any) -> QuantView:
    config = {"quantization_config": {**WHOLE, **changes}}
    place = metadata.find({"config.json": JsonFile("config.json", b"", config)})
    assert place is not None
    return metadata.read(place)


def test_the_list_and_the_names_are_read_with_their_places() -> None:
    view = read()
    assert [e.text for e in view.ignore] == ["lm_head", "re:.*gate$"]
    assert view.ignore[1].pointer == "/quantization_config/exclude/1"
    assert [group.name for group in view.groups] == ["*o_proj", "a/b~c"]
    (target,) = view.groups[1].targets
    assert target.pointer == "/quantization_config/layer_quant_config/a~1b~0c"


@pytest.mark.parametrize(
    "changes",
    [
        {"exclude": "lm_head"},
        {"exclude": [1]},
        {"layer_quant_config": []},
        {"layer_quant_config": {"a": None}},
        {"global_quant_config": [1]},
        {"layer_type_quant_config": "Linear"},
        {"export": 3},
    ],
)
def test_parts_of_another_type_are_broken_files(changes: dict[str, Any]) -> None:
    with pytest.raises(BrokenFileError):
        read(**changes)


@pytest.mark.parametrize("old", [["lm_head"], [], None])
def test_entries_are_added_wherever_there_is_a_list_or_none(old: Any) -> None:
    view = read(exclude=old)
    text = json.dumps({"quantization_config": {**WHOLE, "exclude": old}}).encode()
    new = patch.apply(text, quant.edit(view, Change((), ("re:^mtp\\..*",))))
    wanted = [*(old or []), "re:^mtp\\..*"]
    assert json.loads(new)["quantization_config"]["exclude"] == wanted
