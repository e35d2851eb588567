"""The quick way through an index returns what the strict way does, or nothing."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtpfix.checkpoint.strict_json import loads, part_of, quick_table
from mtpfix.errors import BrokenFileError

words = st.text(alphabet='ab.{}[]:, é\\"', max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


def strict(raw: bytes) -> object:
    """What the strict way makes of it; None where it refuses."""
    try:
        return loads(raw, "index")
    except BrokenFileError:
        return None


@given(
    table=st.dictionaries(words, words, max_size=4) | values,
    beside=st.dictionaries(words, values, max_size=3),
    cut=st.integers(0, 3),
)
def test_it_returns_what_the_strict_way_does(
    table: object, beside: dict[str, object], cut: int
) -> None:
    raw = json.dumps({**beside, "weight_map": table}, ensure_ascii=False).encode()
    raw = raw[: len(raw) - cut]
    try:
        found = quick_table(raw, "weight_map", "index")
    except BrokenFileError:
        found = None
    whole = strict(raw)
    if found is not None:
        assert isinstance(whole, dict)
        assert found == whole["weight_map"]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"weight_map": {"a": "x", "a": "x"}}',
        b'{"weight_map": {"a": "x"}, "weight_map": {"a": "x"}}',
        b'{"metadata": {}, "metadata": {}, "weight_map": {"a": "x"}}',
        b'\xef\xbb\xbf{"weight_map": {"a": "x"}}',
        b'{"weight_map": {"a": "\xff"}}',
        b'{"weight_map": {"a": 1}}',
        b'{"weight_map": {"\\u0061": "x"}}',
        b'{"weight_map": {"a": "x"}} {}',
        b'{"weight_map": []}',
        b"{}",
        b"[]",
    ],
)
def test_what_is_not_plain_is_left_to_the_strict_way(raw: bytes) -> None:
    assert quick_table(raw, "weight_map", "index") is None


@pytest.mark.parametrize("beside", [b"NaN", b'{"a": 1, "a": 2}', b"[1e999]", b"[" * 70 + b"]" * 70])
def test_what_stands_beside_it_is_read_strictly(beside: bytes) -> None:
    raw = b'{"metadata": ' + beside + b', "weight_map": {"a": "x"}}'
    with suppress(BrokenFileError):
        assert quick_table(raw, "weight_map", "index") is None
    with pytest.raises(BrokenFileError):
        loads(raw, "index")


@pytest.mark.parametrize("raw", [b'{"a": {"b": 1}, "c": 2}', b'{"c": 2, "\\u0061": {"b": 1}}'])
def test_one_part_of_an_object(raw: bytes) -> None:
    assert part_of(raw, "a", "index") == {"b": 1}
    assert part_of(raw, "x", "index") is None
