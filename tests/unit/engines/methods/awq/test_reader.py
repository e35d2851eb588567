"""AWQ: where its list stands, and what may not stand there."""

from __future__ import annotations

from typing import Any

import pytest

from mtpfix import quant
from mtpfix.engines.vllm import metadata
from mtpfix.errors import BrokenFileError
from mtpfix.model import QuantView
from mtpfix.quant import Change, Location

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}


def read(**fields: Any) -> QuantView:
    return metadata.read(Location("config.json", "/quantization_config", {**AWQ, **fields}))


def test_the_list_is_read_with_its_place() -> None:
    view = read(modules_to_not_convert=["lm_head", "mtp."])
    assert [(e.text, e.pointer) for e in view.ignore] == [
        ("lm_head", "/quantization_config/modules_to_not_convert/0"),
        ("mtp.", "/quantization_config/modules_to_not_convert/1"),
    ]
    assert (view.method, view.format) == ("awq", "awq")


@pytest.mark.parametrize("fields", [{}, {"modules_to_not_convert": None}])
def test_a_list_that_is_not_there_can_be_written(fields: dict[str, Any]) -> None:
    view = quant.changed(read(**fields), Change(add=("mtp.",)))
    assert view.raw["modules_to_not_convert"] == ["mtp."]


@pytest.mark.parametrize("value", ["lm_head", {"a": 1}, 3, True, ["a", None], [["a"]]])
def test_anything_but_a_list_of_strings_is_broken(value: Any) -> None:
    with pytest.raises(BrokenFileError):
        read(modules_to_not_convert=value)
