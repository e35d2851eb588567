"""How the entries of any metadata are changed: the one list, and its twins in other files. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from mtpfix.model import Edit, Entry, Json, QuantView, Twin
from mtpfix.quant.location import escape


@dataclass(frozen=True, slots=True)
class Change:
    """How the entries are to change: those that go by index, those that come by text."""

    remove: tuple[int, ...] = ()
    add: tuple[str, ...] = ()


def edit(view: QuantView, change: Change) -> tuple[Edit, ...]:
    """The edits of the JSON files that make `change`: of all that carry the entries, or of none."""
    if change == Change():
        return ()
    gone = {view.ignore[index].text for index in change.remove}
    twins = (_twin_edits(view, twin, gone, change.add) for twin in view.twins)
    return (*_own_edits(view, change), *(edit for edits in twins for edit in edits))


def _own_edits(view: QuantView, change: Change) -> Iterator[Edit]:
    pointer = view.ignore_pointer
    if view.unread is not None:  # releases that read the new place do not read the old one too
        texts = dict.fromkeys(entry.text for entry in changed(view, change).ignore)
        yield Edit(view.file, view.unread.pointer, "add", list(texts))
        return
    there = _below(view.raw, _path(view)) is not None
    if view.null or (view.keyed and not there):  # nothing to append to
        value = dict.fromkeys(change.add, view.stub) if view.keyed else list(change.add)
        yield Edit(view.file, pointer, "replace" if view.null else "add", value)
        return
    if view.foremost and change.add:
        gone = {view.ignore[index].text for index in change.remove}
        old = _below(view.raw, _path(view))
        yield Edit(view.file, pointer, "replace", _put_first(view, gone, change.add, old))
        return
    for index in sorted(set(change.remove)):
        yield Edit(view.file, view.ignore[index].pointer, "remove")
    yield from _additions(view.file, pointer, change.add, view)


def _put_first(view: QuantView, gone: Collection[str], add: Iterable[str], old: Json) -> Json:
    """The whole object anew: the order of its keys counts, and no edit of JSON puts one first."""
    kept = {key: value for key, value in (old or {}).items() if key not in gone}
    return {**dict.fromkeys(add, view.stub), **kept}


def _additions(file: str, pointer: str, add: Iterable[str], view: QuantView) -> Iterator[Edit]:
    for text in add:
        if view.keyed:
            yield Edit(file, f"{pointer}/{escape(text)}", "add", view.stub)
        else:
            yield Edit(file, f"{pointer}/-", "add", text)


def _twin_edits(view: QuantView, twin: Twin, gone: set[str], add: Iterable[str]) -> Iterator[Edit]:
    """What another file needs to say the same: by text, for its order may differ."""
    value: Json
    if twin.null:
        value = dict.fromkeys(add, view.stub) if view.keyed else list(add)
        yield Edit(twin.file, twin.pointer, "add" if view.keyed else "replace", value)
        return
    if view.foremost and twin.stated:
        value = _put_first(view, gone, add, twin.stated)
        yield Edit(twin.file, twin.pointer, "replace", value)
        return
    there = {entry.text for entry in twin.ignore}
    for entry in twin.ignore:
        if entry.text in gone:
            yield Edit(twin.file, entry.pointer, "remove")
    missing = [text for text in add if text not in there]
    yield from _additions(twin.file, twin.pointer, missing, view)


def changed(view: QuantView, change: Change) -> QuantView:
    """The view as it would be read after `change`, without going through JSON."""
    if change == Change():
        return view
    if view.unread is not None:
        view = replace(view, ignore_pointer=view.unread.pointer, unread=None)
    gone = set(change.remove)
    texts = [entry.text for index, entry in enumerate(view.ignore) if index not in gone]
    texts = [*change.add, *texts] if view.foremost else [*texts, *change.add]
    found = tuple(_entry(view, index, text) for index, text in enumerate(texts))
    path = _path(view)
    old = _below(view.raw, path)
    value: Json = list(texts)
    if view.keyed:
        kept = old if isinstance(old, Mapping) else {}
        value = {text: kept.get(text, view.stub) for text in texts}
    return replace(view, ignore=found, raw=_with(view.raw, path, value), null=False)


def listed(view: QuantView) -> dict[str, Json] | None:
    """Return the entries in their order, each with its value if it is a key; None: no list."""
    there = _below(view.raw, _path(view))
    if there is None and not view.ignore:
        return None
    values = there if view.keyed and isinstance(there, Mapping) else {}
    return {entry.text: values.get(entry.text) for entry in view.ignore}


def _entry(view: QuantView, index: int, text: str) -> Entry:
    token = escape(text) if view.keyed else str(index)
    return Entry(text, view.file, f"{view.ignore_pointer}/{token}")


def _path(view: QuantView) -> list[str]:
    """The keys that lead from the metadata to the entries."""
    return view.ignore_pointer.removeprefix(view.pointer).strip("/").split("/")


def _below(raw: Json, path: list[str]) -> Json:
    for key in path:
        raw = raw.get(key) if isinstance(raw, Mapping) else None
    return raw


def _with(raw: Json, path: list[str], value: Json) -> dict[str, Json]:
    """An object with another value at a path."""
    old = dict(raw) if isinstance(raw, Mapping) else {}
    key, rest = path[0], path[1:]
    return {**old, key: _with(old.get(key), rest, value) if rest else value}
