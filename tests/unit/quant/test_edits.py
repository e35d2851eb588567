"""How entries are changed: in a list, as keys of an object, in several files at once."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mtpfix.model import Edit, Entry, Json, QuantView, Twin
from mtpfix.quant.edits import Change, changed, edit
from mtpfix.repair import patch

CONFIG = "config.json"


def view(raw: dict[str, Json], key: str, **fields: Any) -> QuantView:
    """Metadata at the root of a file, its entries under `key`."""
    value = raw.get(key) or ()
    places = value if isinstance(value, dict) else range(len(value))
    entries = [Entry(text, CONFIG, f"/{key}/{p}") for text, p in zip(value, places, strict=True)]
    null = key in raw and raw[key] is None
    return QuantView(
        "any", CONFIG, "", tuple(entries), f"/{key}", (), None, raw=raw, null=null, **fields
    )


def applied(raw: dict[str, Json], edits: tuple[Edit, ...]) -> Json:
    return json.loads(patch.apply(json.dumps(raw).encode(), edits))


KEYS = {"keyed": True, "stub": {"bits": 16}}
CASES = [
    ({"list": ["a", "b"]}, {}, Change((0,), ("c",)), ["b", "c"]),
    ({}, {}, Change((), ("c",)), ["c"]),
    ({"list": None}, {}, Change((), ("c",)), ["c"]),
    ({"list": {"a": {"bits": 8}, "b": {}}}, KEYS, Change((1,), ("c",)),
     {"a": {"bits": 8}, "c": {"bits": 16}}),
    ({"list": None}, KEYS, Change((), ("c",)), {"c": {"bits": 16}}),
    ({"list": {}}, KEYS, Change((), ("a/b~c",)), {"a/b~c": {"bits": 16}}),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "form", "change", "wanted"), CASES)
def test_edits_and_the_changed_view_say_the_same(
    raw: dict[str, Json], form: dict[str, Any], change: Change, wanted: Json
) -> None:
    old = view(raw, "list", **form)
    new = changed(old, change)
    assert applied(raw, edit(old, change)) == {"list": wanted}
    assert new.raw == {"list": wanted}
    assert [entry.text for entry in new.ignore] == list(wanted)
    assert not new.null


def test_no_change_changes_nothing() -> None:
    old = view({"list": None}, "list")
    assert edit(old, Change()) == ()
    assert changed(old, Change()) is old


TWIN = Twin("other.json", "/q/exclude", (Entry("b", "other.json", "/q/exclude/0"),))


def test_a_twin_says_the_same_whatever_its_order() -> None:
    old = replace(view({"list": ["a", "b"]}, "list"), twins=(TWIN,))
    assert edit(old, Change((1,), ("c",)))[2:] == (
        Edit("other.json", "/q/exclude/0", "remove"),
        Edit("other.json", "/q/exclude/-", "add", "c"),
    )


def test_what_a_twin_has_already_is_not_added_again() -> None:
    old = replace(view({"list": []}, "list"), twins=(TWIN,))
    assert edit(old, Change((), ("b",))) == (Edit(CONFIG, "/list/-", "add", "b"),)


def test_a_change_below_other_keys_leaves_them_alone() -> None:
    raw: dict[str, Json] = {"quantization": {"algo": "NVFP4", "exclude": ["a"]}, "producer": {}}
    entry = Entry("a", CONFIG, "/quantization/exclude/0")
    old = QuantView("any", CONFIG, "", (entry,), "/quantization/exclude", (), None, raw=raw)
    assert changed(old, Change((), ("b",))).raw == {
        "quantization": {"algo": "NVFP4", "exclude": ["a", "b"]},
        "producer": {},
    }
