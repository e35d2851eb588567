"""Two stages of edits become one, which does what they do one after the other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtpfix.model import Edit, JsonFile
from mtpfix.repair import patch
from mtpfix.repair.stages import composed

TEXT = b"""{
  "before":   [1,2 , 3],
  "q": {
    "dynamic": {"-:a": {}, "+:b": {"bits": 4}},
    "list": ["x", "y", "z"],
    "nothing": null
  },
  "after":{"kept" :  true}
}
"""
FILE = "config.json"


def edit(op: Any, pointer: str, value: Any = None) -> Edit:
    return Edit(FILE, pointer, op, value)


def add(pointer: str, value: Any) -> Edit:
    return edit("add", pointer, value)


def both(first: list[Edit], second: list[Edit], text: bytes = TEXT) -> tuple[Edit, ...]:
    """The edits in one, after a look at what comes of them."""
    found = composed({FILE: JsonFile(FILE, text, json.loads(text))}, first, second)
    in_turn = patch.apply(patch.apply(text, first), second)
    assert json.dumps(json.loads(patch.apply(text, found))) == json.dumps(json.loads(in_turn))
    return found


def test_edits_that_do_not_touch_stay_as_they_are() -> None:
    first = [add("/q/format", "mixed"), add("/q/list/-", "w")]
    second = [add("/q/dynamic/-:c", {}), add("/q/list/-", "v")]
    assert both(first, second) == (*first, *second)


def test_a_value_that_both_touch_is_stated_whole() -> None:
    first = [add("/q/dynamic/+:mtp", {"bits": 8}), add("/q/format", "x")]
    second = [edit("replace", "/q/dynamic", {"-:mtp": {}, "-:a": {}, "+:b": {}, "+:mtp": {}})]
    assert [(e.op, e.pointer) for e in both(first, second)] == [
        ("add", "/q/format"),
        ("replace", "/q/dynamic"),
    ]


def test_the_order_of_keys_is_that_of_the_end() -> None:
    first = [edit("replace", "/q/dynamic", {"+:mtp": {"bits": 8}, "-:a": {}, "+:b": {}})]
    second = [edit("remove", "/q/dynamic/-:a"), add("/q/dynamic/-:c", {})]
    (only,) = both(first, second)
    assert list(only.value) == ["+:mtp", "+:b", "-:c"]


def test_what_the_first_makes_and_the_second_fills() -> None:
    first = [add("/q/new", {"+:mtp": {}})]
    second = [add("/q/new/-:c", {})]
    assert both(first, second) == (add("/q/new", {"+:mtp": {}, "-:c": {}}),)


def test_what_the_first_makes_and_the_second_takes_away() -> None:
    assert both([add("/q/new", 1)], [edit("remove", "/q/new")]) == ()


def test_what_stands_there_goes_in_the_end() -> None:
    first, second = [edit("replace", "/q/list", [])], [edit("remove", "/q/list")]
    assert both(first, second) == (edit("remove", "/q/list"),)


@pytest.mark.parametrize(
    "second",
    [
        [edit("remove", "/q/list/0")],
        [edit("replace", "/q/list/2", "Z")],
        [add("/q/list/-", "end"), edit("remove", "/q/list/1")],
    ],
)
@pytest.mark.parametrize(
    "first",
    [
        [edit("remove", "/q/list/1"), add("/q/list/-", "w")],
        [add("/q/list/0", "w")],
        [add("/q/list/0", "w"), add("/q/list/0", "v"), add("/q/format", "x")],
    ],
)
def test_indexes_are_those_of_the_file_as_it_is(first: list[Edit], second: list[Edit]) -> None:
    found = both(first, second)
    assert add("/q/list/0", "w") not in found
    assert edit("replace", "/q/list/2", "Z") not in found


def test_all_other_bytes_stay() -> None:
    found = both([add("/q/dynamic/c", {})], [edit("replace", "/q/dynamic", {})])
    new = patch.apply(TEXT, found)
    assert b'"before":   [1,2 , 3]' in new
    assert b'"after":{"kept" :  true}' in new
    assert b'"list": ["x", "y", "z"]' in new


def test_keys_of_all_kinds_are_found() -> None:
    text = json.dumps({"a/b": {"~c": [1]}, "0": {"-": 1}}).encode()
    both([add("/a~1b/~0c/-", 2)], [edit("replace", "/a~1b/~0c/1", 3)], text)
    both([add("/0/1", 2)], [edit("remove", "/0/1"), edit("remove", "/0/-")], text)


def test_files_are_told_apart() -> None:
    other = Edit("other.json", "/q/list", "replace", [])
    configs = {name: JsonFile(name, TEXT, json.loads(TEXT)) for name in (FILE, "other.json")}
    first = [add("/q/list/-", "w")]
    assert composed(configs, first, [other]) == (*first, other)


PLACES = (
    "/q/dynamic",
    "/q/dynamic/k",
    "/q/dynamic/-:a",
    "/q/list",
    "/q/list/-",
    "/q/list/1",
    "/q/n",
)
EDITS = st.lists(
    st.builds(
        edit,
        st.sampled_from(("add", "replace", "remove")),
        st.sampled_from(PLACES),
        st.sampled_from(({}, {"k": 1}, [], ["v"], None)),
    ),
    max_size=4,
)


@given(EDITS, EDITS)
def test_any_two_stages_become_one(first: list[Edit], second: list[Edit]) -> None:
    try:
        patch.apply(patch.apply(TEXT, first), second)
    except Exception:  # noqa: BLE001 - not two stages at all
        return
    both(first, second)
