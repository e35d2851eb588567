"""mtpfix.grafts.index: a shard more, and all other bytes as they were."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mtpfix.grafts import index

OLD = {"metadata": {"total_size": 10, "more": "ü"}, "weight_map": {"b": "1", "a": "2"}}


def extended(raw: bytes, names: tuple[str, ...] = ("m.w",), size: int = 99) -> bytes:
    return index.extended(raw, json.loads(raw), "new.safetensors", names, size)


def test_a_new_index_is_sorted_and_says_the_size() -> None:
    made = json.loads(index.made({"b": "1", "ü": "2", "a": "1"}, 7))
    assert made == {"metadata": {"total_size": 7}, "weight_map": {"a": "1", "b": "1", "ü": "2"}}
    assert list(made["weight_map"]) == ["a", "b", "ü"]


@pytest.mark.parametrize("indent", [None, 2, 4, "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_all_other_bytes_stay(indent: Any, newline: str) -> None:
    raw = json.dumps(OLD, indent=indent, ensure_ascii=False).replace("\n", newline).encode()
    made = extended(raw)
    assert json.loads(made) == {
        "metadata": {"total_size": 99, "more": "ü"},
        "weight_map": {"b": "1", "a": "2", "m.w": "new.safetensors"},
    }
    kept = made.replace(b"99", b"10")
    where = kept.index(b'"m.w"')
    before = kept[:where].rstrip(b" \t\r\n").removesuffix(b",").rstrip()
    assert raw.startswith(before)
    assert raw.endswith(kept[where:].partition(b'new.safetensors"')[2])


def test_the_size_is_added_where_the_metadata_lack_it() -> None:
    made = json.loads(extended(b'{"metadata": {}, "weight_map": {"a": "1"}}'))
    assert made["metadata"] == {"total_size": 99}


@pytest.mark.parametrize("metadata", ["", '"metadata": null, ', '"metadata": 5, '])
def test_metadata_are_made_where_there_are_none(metadata: str) -> None:
    raw = f'{{{metadata}"weight_map": {{"a": "1"}}}}'.encode()
    assert json.loads(extended(raw))["metadata"] == {"total_size": 99}


def test_names_are_only_names() -> None:
    names = ("a/b", "c~d", 'e"f', "\x1b[2J", "ü")
    made = json.loads(extended(json.dumps(OLD).encode(), names))
    assert set(made["weight_map"]) == {"a", "b", *names}
    assert all(made["weight_map"][name] == "new.safetensors" for name in names)
