"""ModelOpt's list: dotted paths for linear layers, and wildcards for all. Pure.

Source: `ModelOptQuantConfig.is_layer_excluded`, alike from 0.5.13 to 0.5.23. An entry is a regex
in which `.` is a dot and `*` stands for `.*`; it fits a whole name, or any part between dots.
The ends of four entries also fit names that hold them in their last part, whatever comes before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from mtpfix.engines.policies.method import Packed
from mtpfix.engines.sglang.methods.shared.paths import Paths
from mtpfix.model import Entry, Module
from mtpfix.patterns import bounded, fits_start

ENDS = frozenset({"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj"})
"""Ends of entries that fit names of every layer."""
_LITERAL = re.compile(r"[\w./:\- ]*")
_WRAPPER = "language_model."


class _Numbered(NamedTuple):
    position: int
    entry: Entry
    text: str
    """The regex of a pattern, or the end of a name."""


class Excluded:
    """A list, as ModelOpt's configuration classes compare it with names.

    Args:
        entries: in the order of the list.

    Raises:
        PatternError: too many of them are patterns.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        found = bounded(entries, _is_pattern)
        self._paths = Paths(found)
        self._literal: dict[str, tuple[int, Entry]] = {}
        self._patterns: list[_Numbered] = []
        self._ends: list[_Numbered] = []
        for position, entry in enumerate(found):
            if _is_pattern(entry):
                self._patterns.append(_Numbered(position, entry, _regex(entry.text)))
            else:
                self._literal.setdefault(entry.text, (position, entry))
            end = entry.text.rpartition(".")[2]
            if end in ENDS:
                self._ends.append(_Numbered(position, entry, end))

    def first(self, name: str) -> Entry | None:
        """Return the entry that fits `name`, as a wildcard or as a path."""
        return self.excludes(name) or self._paths.fits(name)

    def about(self, module: Module, packed: Packed) -> Entry | None:
        """Return the entry that exempts a module; None: none does. Paths fit no experts.

        Raises:
            ShardsDifferError: the list names only some shards of a fused layer.
            PatternError: a pattern is invalid, or takes too long.
        """
        path = None if module.kind == "experts" else self._paths.skips(module.name, packed)
        return path or self.excludes(module.name)

    def excludes(self, name: str) -> Entry | None:
        """Return the first entry that fits `name` as a wildcard.

        Raises:
            PatternError: a pattern before it is invalid, or takes too long.
        """
        names = dict.fromkeys((name, name.removeprefix(_WRAPPER)))
        asked = list(dict.fromkeys(text for n in names for text in (n, *n.split("."))))
        hits = [self._literal[text] for text in asked if text in self._literal]
        lasts = [n.rpartition(".")[2] for n in names]
        hits += [(p, e) for p, e, end in self._ends if any(end in last for last in lasts)]
        found = min(hits, default=None, key=lambda hit: hit[0])
        for pattern in self._patterns:
            if found is not None and pattern.position > found[0]:
                break
            if any(self._fits(pattern, text) for text in asked):
                return pattern.entry
        return None if found is None else found[1]

    def _fits(self, pattern: _Numbered, text: str) -> bool:
        number = len(self._patterns)
        fits_start(pattern.entry, pattern.text, "", number)  # it must be valid on its own
        return fits_start(pattern.entry, rf"(?:{pattern.text})\Z", text, number)


def _is_pattern(entry: Entry) -> bool:
    return _LITERAL.fullmatch(entry.text) is None


def _regex(text: str) -> str:
    return text.replace(".", r"\.").replace("*", ".*")
