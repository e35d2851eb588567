"""How fp8 metadata is read: which of its two lists counts, and what else it says."""

from __future__ import annotations

from typing import Any

import pytest

from mtpfix import quant
from mtpfix.engines.vllm import metadata
from mtpfix.errors import BrokenFileError
from mtpfix.model import Edit, QuantView
from mtpfix.quant import Change, Location

ROOT = "/quantization_config"


def read(**fields: Any) -> QuantView:
    return metadata.read(Location("config.json", ROOT, {"quant_method": "fp8", **fields}))


@pytest.mark.parametrize(
    ("fields", "texts", "key"),
    [
        ({}, [], "ignored_layers"),
        ({"ignored_layers": ["a"]}, ["a"], "ignored_layers"),
        ({"modules_to_not_convert": ["b"]}, ["b"], "modules_to_not_convert"),
        ({"ignored_layers": ["a"], "modules_to_not_convert": ["b"]}, ["a"], "ignored_layers"),
        ({"ignored_layers": [], "modules_to_not_convert": ["b"]}, ["b"], "modules_to_not_convert"),
        ({"ignored_layers": None, "modules_to_not_convert": ["b"]}, ["b"],
         "modules_to_not_convert"),
        ({"modules_to_not_convert": []}, [], "modules_to_not_convert"),
        ({"ignored_layers": None}, [], "ignored_layers"),
    ],
)  # fmt: skip
def test_the_first_list_that_holds_something_counts(
    fields: dict[str, Any], texts: list[str], key: str
) -> None:
    view = read(**fields)
    assert [entry.text for entry in view.ignore] == texts
    assert view.ignore_pointer == f"{ROOT}/{key}"


@pytest.mark.parametrize(
    ("size", "wanted"),
    [([128, 128], "fp8-block"), (None, "fp8-tensor")],
)
def test_the_format_hangs_on_the_block_size(size: Any, wanted: str) -> None:
    assert read(weight_block_size=size).format == wanted
    assert read().format == "fp8-tensor"


@pytest.mark.parametrize(
    "fields",
    [
        {"ignored_layers": "lm_head"},
        {"ignored_layers": [1]},
        {"ignored_layers": {"lm_head": True}},
        {"ignored_layers": ["a"], "modules_to_not_convert": 3},
    ],
)
def test_a_list_of_another_type_is_a_broken_file(fields: dict[str, Any]) -> None:
    with pytest.raises(BrokenFileError):
        read(**fields)


def test_entries_are_added_to_the_list_that_counts() -> None:
    pointer = f"{ROOT}/modules_to_not_convert/-"
    view = read(ignored_layers=[], modules_to_not_convert=["b"])
    assert quant.edit(view, Change((), ("c",))) == (Edit("config.json", pointer, "add", "c"),)


def test_a_list_is_put_in_the_place_of_null() -> None:
    edits = quant.edit(read(ignored_layers=None), Change((), ("c",)))
    assert edits == (Edit("config.json", f"{ROOT}/ignored_layers", "replace", ["c"]),)
