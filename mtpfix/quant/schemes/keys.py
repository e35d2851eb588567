"""Metadata whose entries are keys of an object, each with the numbers of what it fits. Pure.

They stand in `config.json`, and once more in the files that quantizers write beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from mtpfix.checkpoint.packing import CHANNEL
from mtpfix.model import Edit, Json
from mtpfix.quant.location import escape
from mtpfix.quant.schemes.metadata import Metadata

Keys = Mapping[str, Mapping[str, Json]]
"""New keys, and what each says."""


def additions(of: Metadata, key: str, new: Keys, *, first: bool) -> Iterator[Edit]:
    """Yield the edits by which an object gets keys; one that is there gets another value.

    Args:
        of: the file.
        key: of the object.
        new: the keys.
        first: whether they go before the others. The object is then stated anew: its order
            counts, and no edit of JSON puts a key first.
    """
    old, place = of.value.get(key), of.at(key)
    if not new:
        return
    if not isinstance(old, Mapping):
        yield Edit(of.file, place, "add", dict(new))
    elif first and old:
        kept = {text: value for text, value in old.items() if text not in new}
        yield Edit(of.file, place, "replace", {**new, **kept})
    else:
        for text, value in new.items():
            yield Edit(of.file, f"{place}/{escape(text)}", "add", value)


def extended(of: Metadata, key: str, names: Iterable[str]) -> Iterator[Edit]:
    """Yield the edits by which a list of names gets more: a list, lists, or words with commas.

    Where the list is not there, or empty, it says something else than a list of some names.
    """
    old, place = of.value.get(key), of.at(key)
    new = [name for name in names if not _holds(old, name)]
    if not old or not new:
        return
    if isinstance(old, str):
        yield Edit(of.file, place, "replace", ",".join((old, *new)))
    elif isinstance(old, list) and any(isinstance(part, list) for part in old):
        yield Edit(of.file, f"{place}/-", "add", new)
    elif isinstance(old, list):
        yield from (Edit(of.file, f"{place}/-", "add", name) for name in new)


def _holds(old: Json, name: str) -> bool:
    parts = old.split(",") if isinstance(old, str) else old if isinstance(old, list) else ()
    return name in parts or any(isinstance(part, list) and name in part for part in parts)


def said(numbers: Mapping[str, Json]) -> str:
    """Return bits and group size in words."""
    size = numbers["group_size"]
    return f"{numbers['bits']} bits, " + (
        "a scale a row" if size == CHANNEL else f"groups of {size}"
    )


def differs(numbers: Mapping[str, Json], from_: Mapping[str, Json]) -> bool:
    """Return whether something says other numbers than these."""
    return any(from_.get(key) != value for key, value in numbers.items())


def quoted(name: str) -> str:
    """Return a name as texts show it."""
    return f"`{name}`"
