"""Two stages of edits as one: of which the second speaks of the files as the first leaves them.

`patch.apply` takes all edits of a file at once, in terms of the file as it is, and so does
whoever reads them in a report. A value that both stages touch is stated whole, as it is in the
end; all other edits stay as they are. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mtpfix.checkpoint import strict_json
from mtpfix.checkpoint.document import value_at
from mtpfix.model import Edit, JsonFile
from mtpfix.repair import patch

_GONE = object()
"""Stands for a value that is not there."""


def composed(
    configs: Mapping[str, JsonFile], first: Sequence[Edit], second: Sequence[Edit]
) -> tuple[Edit, ...]:
    """Return edits of the files as they are that do what two stages do one after the other.

    Args:
        configs: the files as they are, by name.
        first: edits of these files.
        second: edits of the files after the first.
    """
    names = dict.fromkeys(edit.file for edit in (*first, *second))
    return tuple(
        edit
        for name in names
        for edit in _of_file(
            configs[name],
            [edit for edit in first if edit.file == name],
            [edit for edit in second if edit.file == name],
        )
    )


def edited(configs: Mapping[str, JsonFile], edits: Sequence[Edit]) -> dict[str, JsonFile]:
    """Return files as they are after some edits.

    Raises:
        MtpfixError: what comes of them cannot be read.
    """
    texts = patch.apply_all(edits, lambda name: configs[name].raw)
    files = {name: JsonFile(name, raw, strict_json.loads(raw, name)) for name, raw in texts.items()}
    return {**configs, **files}


def _of_file(file: JsonFile, first: Sequence[Edit], second: Sequence[Edit]) -> Iterator[Edit]:
    places = _outermost(_clashes(first, second))
    for edit in (*first, *second):
        if places.isdisjoint(_beginnings(edit.pointer)):
            yield edit
    if not places:
        return
    raw = patch.apply(patch.apply(file.raw, first), second)
    end = strict_json.loads(raw, file.name)
    for place in sorted(places):
        was, becomes = (value_at(value, place, _GONE) for value in (file.value, end))
        if becomes is not _GONE:
            yield Edit(file.name, place, "add" if was is _GONE else "replace", becomes)
        elif was is not _GONE:
            yield Edit(file.name, place, "remove")


def _clashes(first: Sequence[Edit], second: Sequence[Edit]) -> Iterator[str]:
    """Yield the values that both stages touch, or lists whose indexes the first may shift."""
    touched = {edit.pointer for edit in first}
    around = {beginning for pointer in touched for beginning in _beginnings(pointer)}
    indexed = (pointer.rpartition("/") for pointer in touched)
    lists = {above for above, _, last in indexed if last == "-" or last.isdecimal()}
    for pointer in {edit.pointer for edit in second}:
        if pointer in around and not pointer.endswith("/-"):
            yield pointer
        for beginning in _beginnings(pointer):
            above, _, last = beginning.rpartition("/")
            if above in lists and last.isdecimal():
                yield above
            if beginning in touched and last != "-":
                yield beginning


def _outermost(places: Iterator[str]) -> set[str]:
    """Return the places that are in no other."""
    found = set(places)
    return {p for p in found if found.isdisjoint(b for b in _beginnings(p) if b != p)}


def _beginnings(pointer: str) -> Iterator[str]:
    """Yield the pointers to all that holds a value, and to itself last."""
    yield from (pointer[:at] for at, letter in enumerate(pointer) if letter == "/")
    yield pointer
