"""Dialects that keep what they exempt in one list, under a key of their own. Pure."""

from __future__ import annotations

from mtpfix.model import QuantView
from mtpfix.quant.place import Place, entries


def view(place: Place, method: str, key: str, *, format: str | None) -> QuantView:  # noqa: A002
    """The metadata of such a dialect.

    Args:
        place: where it stands.
        method: the name of the method.
        key: the key of the list.
        format: the format on disk of what no entry exempts.

    Raises:
        BrokenFileError: the list is none, or holds something else than strings.
    """
    value, where = place.value.get(key), place.at(key)
    return QuantView(
        method=method,
        file=place.file,
        pointer=place.pointer,
        ignore=entries(place.file, where, value),
        ignore_pointer=where,
        groups=(),
        format=format,
        files=(f"{place.file}#{place.pointer}",),
        raw=place.value,
        null=key in place.value and value is None,
    )
