"""vLLM's `is_layer_skipped`: lists of exact names, with fused layers and experts. Pure.

Source: `quantization/utils/quant_utils.py` of each release.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mtpfix.engines.policies.method import Packed, ShardsDifferError
from mtpfix.engines.vllm.policy import rules
from mtpfix.model import Entry

HALF = (
    "ValueError: Detected some but not all shards of {name} are quantized. "
    "All shards of fused layers to have the same precision."
)
"""What is raised where a list names some shards of a fused layer."""


class Names:
    """A list of exact names, or of such as fit the ends of names too.

    Args:
        entries: in the order of the list.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._exact: dict[str, Entry] = {}
        for entry in entries:
            self._exact.setdefault(entry.text, entry)
        self._within = next((e.within for e in self._exact.values() if e.within is not None), None)
        self._experts = [e for text, e in self._exact.items() if "experts" in text]

    def first(self, name: str) -> Entry | None:
        """The entry that is about `name`: that fits it, or speaks of one of its experts."""
        return self.fits(name) or (self.of_experts(name) if self.by_parts(name) else None)

    def fits(self, name: str) -> Entry | None:
        """The entry that is spelled like `name`, or like its end."""
        found = (self._exact[end] for end in self._ends(name) if end in self._exact)
        return next(found, None)

    def _ends(self, name: str) -> Iterator[str]:
        yield name
        dots = (at for at, letter in enumerate(name) if letter == ".") if self._by_end(name) else ()
        yield from (name[at + 1 :] for at in dots)

    def by_parts(self, name: str) -> bool:
        """Whether an entry that holds `name` is enough: so it is with the names of experts."""
        return "experts" in name and not self._by_end(name)

    def _by_end(self, name: str) -> bool:
        return self._within is not None and name.startswith(self._within)

    def of_experts(self, name: str) -> Entry | None:
        """The first entry about experts that holds `name`: one expert stands for all."""
        return next((entry for entry in self._experts if name in entry.text), None)


def skipped(name: str, names: Names, packed: Packed, release: str) -> Entry | None:
    """The entry that exempts the module `name`, or None if it is not exempt.

    Raises:
        ShardsDifferError: the list names only some shards of a fused layer.
    """
    last = name.rpartition(".")[2]
    if last in packed:
        whole = names.fits(name) if rules("skips_fused_name", release) else None
        return whole or _by_shards(name, names, packed)
    return names.of_experts(name) if names.by_parts(name) else names.fits(name)


def _by_shards(name: str, names: Names, packed: Packed) -> Entry | None:
    last = name.rpartition(".")[2]
    matches = [names.fits(name.replace(last, shard)) for shard in packed[last]]
    hits = [entry for entry in matches if entry is not None]
    if hits and len(hits) < len(matches):
        raise ShardsDifferError(HALF.format(name=name), hits[0])
    return hits[0] if hits else None


class Parts(Names):
    """A list of parts of names, in its order; an entry fits every name that holds it.

    Source: `is_layer_skipped(..., match_mode="substring")` (`skip_with_substr` before 0.28).
    """

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

    def by_parts(self, name: str) -> bool:
        """Names are never compared whole: experts need no rule of their own."""
        return False
