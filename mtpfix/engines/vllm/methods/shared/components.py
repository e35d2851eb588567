"""Lists whose entries fit whole components of a name: what stands between its dots. Pure.

Source: `should_skip` in `quantization/torchao.py`, and `is_layer_skipped_bnb` in
`quantization/bitsandbytes.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from mtpfix.model import Entry


class Anywhere:
    """Entries that are one or several components of a name, wherever they stand in it."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = tuple(entries)

    def first(self, name: str) -> Entry | None:
        """The first entry that fits `name`."""
        return next((entry for entry in self._entries if self._fits(entry.text, name)), None)

    def _fits(self, text: str, name: str) -> bool:
        return text == name or f".{text}." in f".{name}."


class Leading(Anywhere):
    """Entries that are a single component of a name, or all of them up to one."""

    def _fits(self, text: str, name: str) -> bool:
        return text in name.split(".") or text == name or name.startswith(f"{text}.")
