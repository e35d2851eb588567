"""Lists whose entries fit every name that holds them as a part. Pure.

Source: `is_layer_skipped(..., match_mode="substring")` in
`quantization/utils/quant_utils.py` (`skip_with_substr` before 0.28).
"""

from __future__ import annotations

from collections.abc import Iterable

from mtpfix.engines.vllm.methods.skipped import Names
from mtpfix.model import Entry


class Parts(Names):
    """A list of parts of names, in its order."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._parts = tuple(entries)
        super().__init__(self._parts)

    def __bool__(self) -> bool:
        return bool(self._parts)

    def first(self, name: str) -> Entry | None:
        """The first entry that is a part of `name`."""
        return self.fits(name)

    def fits(self, name: str) -> Entry | None:
        """The first entry that is a part of `name`."""
        return next((entry for entry in self._parts if entry.text in name), None)

    def by_parts(self, name: str) -> bool:  # noqa: ARG002 - as `Names` has it
        """Names are never compared whole: experts need no rule of their own."""
        return False
