"""Metadata that keeps what it exempts in one list, under a key of its own. Pure."""

from __future__ import annotations

from mtpfix.model import QuantView
from mtpfix.quant.location import Location, entries


def view(location: Location, method: str, key: str, *, format: str | None) -> QuantView:  # noqa: A002
    """Return such metadata as it is read.

    Args:
        location: where it stands.
        method: the name of the method.
        key: the key of the list.
        format: the format on disk of what no entry exempts.

    Raises:
        BrokenFileError: the list is none, or holds something else than strings.
    """
    value, where = location.value.get(key), location.at(key)
    return QuantView(
        method=method,
        file=location.file,
        pointer=location.pointer,
        ignore=entries(location.file, where, value),
        ignore_pointer=where,
        groups=(),
        format=format,
        files=(f"{location.file}#{location.pointer}",),
        raw=location.value,
        null=key in location.value and value is None,
    )
