"""quark's list `exclude`, as each release compares it with names. Pure.

Source: `should_ignore_layer` in `quantization/quark/utils.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from mtpfix.engines.policies.method import Packed, ShardsDifferError
from mtpfix.engines.vllm.policy import rules
from mtpfix.model import Entry, Module
from mtpfix.patterns import Entries, PatternError


class Excluded:
    """The list `exclude`, as one release compares it with names."""

    def __init__(self, entries: Iterable[Entry], release: str) -> None:
        self._texts = tuple(entries)
        self._fused_first: bool = rules("fused_name_first", release)
        self._children: bool = rules("quark_children", release)
        self._invalid: PatternError | None = None
        try:
            # From 0.30 on every pattern is tried; before, the first that fits ends it.
            self._entries = Entries(self._texts, eager=self._fused_first)
        except PatternError as error:
            self._invalid = error

    def demand_valid(self) -> None:
        """Raises the error of the first invalid pattern, if there is one."""
        Entries(self._texts)

    def first(self, name: str) -> Entry | None:
        """The entry that fits `name`, or that speaks of what stands below it."""
        return self.child(name) or self.fits(name)

    def child(self, name: str) -> Entry | None:
        """The entry, no pattern, that is spelled like `name` or stands below it."""
        if not self._children:
            return None
        plain_ones = (entry for entry in self._texts if not entry.text.startswith("re:"))
        return next((e for e in plain_ones if f"{e.text}.".startswith(f"{name}.")), None)

    def fits(self, name: str) -> Entry | None:
        """The first entry that is spelled like `name`, or whose pattern fits its start."""
        if self._invalid is not None:
            raise self._invalid
        return self._entries.first(name)

    def about(self, module: Module, packed: Packed) -> Entry | None:
        """The entry that exempts a module, or None if it is not exempt.

        Raises:
            ShardsDifferError: the list names only some shards of a fused layer.
            PatternError: a pattern is invalid, or takes too long.
        """
        name = module.name
        if module.kind == "experts" and (found := self.child(name)):
            return found
        last = name.rpartition(".")[2]
        if last not in packed:
            return self.fits(name)
        whole = self.fits(name) if self._fused_first else None
        return whole or self._by_shards(name, tuple(packed[last]))

    def _by_shards(self, name: str, shards: tuple[str, ...]) -> Entry | None:
        last = name.rpartition(".")[2]
        matches = [self.fits(name.replace(last, shard)) for shard in shards]
        hits = [entry for entry in matches if entry is not None]
        if hits and len(hits) < len(matches):
            text = (
                f"ValueError: Found different quantization schemes for the shards of {name}. "
                "vLLM requires all to use the same scheme."
            )
            raise ShardsDifferError(text, hits[0])
        return hits[0] if hits else None
