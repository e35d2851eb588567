"""Where quantization metadata stands, and how its parts are read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mtpfix.errors import BrokenFileError
from mtpfix.model import Entry, Json

_REMEDY = "see the documentation of the quantization method for what belongs here"


@dataclass(frozen=True, slots=True)
class Location:
    """Where quantization metadata stands, what stands there, and the type of its model."""

    file: str
    pointer: str
    value: Mapping[str, Json]
    model_type: str = ""

    def at(self, *keys: str) -> str:
        """The JSON pointer of what stands below some keys."""
        return self.pointer + "".join(f"/{escape(key)}" for key in keys)


def escape(key: str) -> str:
    """A key as a token of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


MAX_ENTRIES = 250_000
"""Entries of the longest list that is read; one with an entry per expert has 100,000."""


def refuse_too_many(file: str, pointer: str, number: int) -> None:
    """Refuse a list of more entries than are read.

    Raises:
        BrokenFileError: it is too long.
    """
    if number > MAX_ENTRIES:
        raise BrokenFileError(
            f"{file}: {pointer} has {number:,} entries; mtpfix reads at most {MAX_ENTRIES:,}",
            "name blocks by patterns instead of listing each module",
        )


def entries(file: str, pointer: str, value: Json) -> tuple[Entry, ...]:
    """The strings of a list; none where the list is `null`.

    Raises:
        BrokenFileError: it is no list, is too long, or holds something else.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BrokenFileError(f"{file}: {pointer} is not a list", _REMEDY)
    refuse_too_many(file, pointer, len(value))
    for index, text in enumerate(value):
        if not isinstance(text, str):
            raise BrokenFileError(f"{file}: {pointer}/{index} is not a string", _REMEDY)
    return tuple(Entry(text, file, f"{pointer}/{index}") for index, text in enumerate(value))


def keys(file: str, pointer: str, value: Json) -> tuple[Entry, ...]:
    """The keys of an object as entries; none where it is `null`.

    Raises:
        BrokenFileError: it is no object, or has too many keys.
    """
    found = mapping(file, pointer, value) or {}
    refuse_too_many(file, pointer, len(found))
    return tuple(Entry(key, file, f"{pointer}/{escape(key)}") for key in found)


def mapping(file: str, pointer: str, value: Json) -> Mapping[str, Json] | None:
    """An object, or None where there is none.

    Raises:
        BrokenFileError: something else stands there.
    """
    if value is not None and not isinstance(value, Mapping):
        raise BrokenFileError(f"{file}: {pointer} is not an object", _REMEDY)
    return value


def text(file: str, pointer: str, value: Json) -> str | None:
    """A string, or None where there is none.

    Raises:
        BrokenFileError: something else stands there.
    """
    if value is not None and not isinstance(value, str):
        raise BrokenFileError(f"{file}: {pointer} is not a string", _REMEDY)
    return value
