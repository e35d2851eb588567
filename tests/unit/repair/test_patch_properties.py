"""Edits of JSON text, on any document: what they say, and no other byte."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mtpfix.checkpoint.document import BOM, JsonDocument
from mtpfix.model import Edit
from mtpfix.repair import patch
from tests.unit.repair.edits import edit, locate

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=5)
)
keys = st.text(st.sampled_from('ab/~"\\é\n'), max_size=3).filter(lambda key: key != "-")
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=25,
)
documents = st.lists(values, max_size=5) | st.dictionaries(keys, values, max_size=5)


@st.composite
def texts(draw: st.DrawFn, document: Any) -> bytes:
    """The document, written in some style."""
    text = json.dumps(
        document,
        indent=draw(st.sampled_from([None, 0, 1, 2, 4, "\t"])),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : ")])),
        ensure_ascii=draw(st.booleans()),
    )
    text = text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))
    return (
        draw(st.sampled_from([b"", BOM]))
        + text.encode()
        + draw(st.sampled_from([b"", b"\n", b"\r\n"]))
    )


def places(value: Any, pointer: str = "") -> list[tuple[str, Any]]:
    """Every container of a document, with its pointer."""
    if not isinstance(value, list | dict):
        return []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = [(pointer, value)]
    for key, item in items:
        found += places(item, f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}")
    return found


def same(left: Any, right: Any) -> bool:
    return json.dumps(left) == json.dumps(right)


def at(document: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        token = part.replace("~1", "/").replace("~0", "~")
        document = document[int(token) if isinstance(document, list) else token]
    return document


@st.composite
def batches(draw: st.DrawFn) -> tuple[Any, bytes, str, list[Edit], Any]:
    """A document, its text, one container of it, edits there, and what must come out."""
    document = draw(documents)
    pointer, container = draw(st.sampled_from(places(document)))
    expected = deepcopy(document)
    target = at(expected, pointer)
    edits: list[Edit] = []
    names = list(container) if isinstance(container, dict) else range(len(container))
    kept: list[Any] = []
    for name in names:
        token = f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}"
        op = draw(st.sampled_from(["keep", "keep", "remove", "replace"]))
        item = container[name]
        if isinstance(container, list):
            for value in draw(st.lists(values, max_size=2)):
                edits.append(edit("add", token, value))
                kept.append((None, value))
        if op == "replace":
            item = draw(values)
        if op != "keep":
            edits.append(edit(op, token, item))
        if op != "remove":
            kept.append((name, item))
    # The order of edits says nothing, but for additions to one place.
    edits = draw(st.permutations(edits)) if isinstance(container, dict) else edits
    if isinstance(container, list):
        for value in draw(st.lists(values, max_size=2)):
            edits.append(edit("add", f"{pointer}/-", value))
            kept.append((None, value))
        target[:] = [value for _, value in kept]
    else:
        for value in draw(st.lists(values, max_size=1)):
            edits.append(edit("add", f"{pointer}/new", value))
            kept.append(("new", value))
        target.clear()
        target.update(kept)
    return document, draw(texts(document)), pointer, edits, expected


@given(batches())
def test_edits_mean_what_they_say(batch: tuple[Any, bytes, str, list[Edit], Any]):
    _, raw, _, edits, expected = batch
    assert same(json.loads(patch.apply(raw, edits)), expected)


@given(batches())
def test_no_byte_outside_the_edited_container_changes(
    batch: tuple[Any, bytes, str, list[Edit], Any],
):
    _, raw, pointer, edits, _ = batch
    span, new = locate(raw, pointer), patch.apply(raw, edits)
    assert new.startswith(raw[: span.begin + 1])
    assert new.endswith(raw[span.end - 1 :])


@given(batches())
def test_items_that_stay_keep_their_spelling(batch: tuple[Any, bytes, str, list[Edit], Any]):
    document, raw, pointer, edits, _ = batch
    touched = {edit.pointer for edit in edits if edit.op != "add"}
    new = patch.apply(raw, edits)
    for place, _ in places(document):
        if place.startswith(pointer) and place != pointer:
            top = pointer + "/" + place[len(pointer) + 1 :].partition("/")[0]
            if top not in touched:
                span = locate(raw, place)
                assert raw[span.start : span.end] in new


@given(documents.flatmap(lambda value: st.tuples(st.just(value), texts(value))), values, st.data())
def test_an_added_item_that_is_removed_again_leaves_the_same_bytes(
    pair: tuple[Any, bytes], value: Any, data: st.DataObject
):
    document, raw = pair
    pointer, container = data.draw(st.sampled_from(places(document)))
    if isinstance(container, list):
        index = data.draw(st.integers(0, len(container)))
        new = patch.apply(raw, [edit("add", f"{pointer}/{index}", value)])
        back = patch.apply(new, [edit("remove", f"{pointer}/{index}")])
    else:
        new = patch.apply(raw, [edit("add", f"{pointer}/new", value)])
        back = patch.apply(new, [edit("remove", f"{pointer}/new")])
    assert back == raw


@given(documents.flatmap(lambda value: st.tuples(st.just(value), texts(value))))
def test_every_value_stands_where_it_is_located(pair: tuple[Any, bytes]):
    document, raw = pair
    for pointer, value in places(document):
        span = locate(raw, pointer)
        assert same(json.loads(raw[span.begin : span.end]), value)
        assert JsonDocument(raw).line_of(pointer) == raw[: span.begin].count(b"\n") + 1


@given(documents, st.sampled_from([1, 2, 4, "\t"]), st.data())
def test_a_file_as_python_writes_it_stays_one(document: Any, indent: Any, data: st.DataObject):
    pointer, container = data.draw(st.sampled_from(places(document)))
    expected = deepcopy(document)
    if isinstance(container, list):
        at(expected, pointer).append("x")
        change = edit("add", f"{pointer}/-", "x")
    else:
        at(expected, pointer)["new"] = ["x"]
        change = edit("add", f"{pointer}/new/-", "x")
    raw = json.dumps(document, indent=indent).encode()
    if b"\n" in raw:  # an empty document has no style yet
        assert patch.apply(raw, [change]) == json.dumps(expected, indent=indent).encode()


@given(documents.flatmap(lambda value: st.tuples(st.just(value), texts(value))), values, st.data())
def test_what_is_replaced_again_by_the_same_keeps_its_bytes(
    pair: tuple[Any, bytes], value: Any, data: st.DataObject
):
    document, raw = pair
    pointer, container = data.draw(st.sampled_from(places(document)))
    for key in container if isinstance(container, dict) else range(len(container)):
        token = str(key).replace("~", "~0").replace("/", "~1")
        change = [edit("replace", f"{pointer}/{token}", value)]
        once = patch.apply(raw, change)
        assert patch.apply(once, change) == once
