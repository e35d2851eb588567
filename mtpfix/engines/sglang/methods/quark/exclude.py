"""quark's list `exclude`, as each release compares it with names. Pure.

Source: `should_ignore_layer` in `quantization/quark/utils.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from mtpfix.engines.policies.method import Packed
from mtpfix.engines.sglang.methods.shared.rules import rules
from mtpfix.engines.sglang.methods.shared.shards import differing, of_shards
from mtpfix.model import Entry
from mtpfix.patterns import Entries

_EXPERTS = ".experts"


class Excluded:
    """The list `exclude`: names, and patterns behind `re:`.

    Args:
        entries: in the order of the list.
        release: the release that compares them.

    Raises:
        PatternError: too many of them are patterns.
    """

    def __init__(self, entries: Iterable[Entry], release: str) -> None:
        self._all = tuple(entries)
        self._entries = Entries(self._all, eager=False)
        self._release = release
        self._whole_first: bool = rules("quark_whole_first", release)

    def first(self, name: str) -> Entry | None:
        """Return the entry that fits `name`, or that speaks of one of its experts."""
        return self._entries.first(name) or self._of_experts(name)

    def about(self, name: str, packed: Packed) -> Entry | None:
        """Return the entry that exempts the module `name`; None: it is not exempt.

        Raises:
            ShardsDifferError: the list names only some shards of a fused layer.
            PatternError: a pattern is invalid, or takes too long.
        """
        last = name.rpartition(".")[2]
        whole = self._whole_first or last not in packed
        found = self.first(name) if whole else None
        if found is not None or last not in packed:
            return found
        error = differing(name, packed[last], self._release)
        return of_shards(name, packed[last], self._entries.first, error)

    def _of_experts(self, name: str) -> Entry | None:
        """Return the first entry below routed experts, where one stands for all."""
        if not self._whole_first or not name.endswith(_EXPERTS):
            return None
        return next((entry for entry in self._all if entry.text.startswith(f"{name}.")), None)
