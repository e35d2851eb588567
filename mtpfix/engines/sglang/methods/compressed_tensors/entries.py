"""SGLang's ignore list for compressed-tensors, release by release. Pure.

Source: `should_ignore_layer` and `check_equal_or_regex_match` in
`quantization/compressed_tensors/utils.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mtpfix.engines.policies.method import Packed
from mtpfix.engines.sglang.methods.shared.rules import rules
from mtpfix.engines.sglang.methods.shared.shards import differing, of_shards
from mtpfix.model import Entry
from mtpfix.patterns import bounded, fits_start, is_pattern, shared_answers

_MARK = "re:"


class Ignored:
    """The list `ignore`: names, ends of names or parts of them, and patterns behind `re:`.

    Args:
        entries: in the order of the list.
        release: the release that compares them.

    Raises:
        PatternError: too many of them are patterns.
    """

    def __init__(self, entries: Iterable[Entry], release: str) -> None:
        self._release = release
        self._parts: bool = rules("plain_entries_are_parts", release)
        self._patterns: list[tuple[int, Entry]] = []
        self._plain: dict[str, tuple[int, Entry]] = {}
        found = bounded(entries, is_pattern)
        self._firsts = shared_answers(found, self._parts)
        for position, entry in enumerate(found):
            if is_pattern(entry):
                self._patterns.append((position, entry))
            else:
                text = entry.text.lower() if self._parts else entry.text
                self._plain.setdefault(text, (position, entry))
        self._spelled = {entry.text for _, entry in self._plain.values()}

    def first(self, name: str) -> Entry | None:
        """Return the first entry, in list order, that fits `name`.

        Raises:
            PatternError: a pattern before it is invalid, or takes too long.
        """
        if name not in self._firsts:
            self._firsts[name] = self._first(name)
        return self._firsts[name]

    def _first(self, name: str) -> Entry | None:
        found = min(self._by_text(name), default=None, key=lambda each: each[0])
        for position, entry in self._patterns:
            if found is not None and found[0] < position:
                break
            if fits_start(entry, entry.text.removeprefix(_MARK), name, len(self._patterns)):
                return entry
        return None if found is None else found[1]

    def _by_text(self, name: str) -> Iterator[tuple[int, Entry]]:
        if self._parts:
            lowered = name.lower()
            return (each for text, each in self._plain.items() if text in lowered)
        dots = (at + 1 for at, letter in enumerate(name) if letter == ".")
        ends = (name[at:] for at in (0, *dots))
        return (self._plain[end] for end in ends if end in self._plain)

    def about(self, name: str, packed: Packed) -> Entry | None:
        """Return the entry that exempts the module `name`; None: it is not exempt.

        Raises:
            ShardsDifferError: the list names only some shards of a fused layer.
            PatternError: a pattern is invalid, or takes too long.
        """
        last = name.rpartition(".")[2]
        if last not in packed or name in self._spelled:
            return self.first(name)
        error = differing(name, packed[last], self._release)
        return of_shards(name, packed[last], self.first, error)


def naming(name: str, targets: Iterable[Entry], release: str) -> Entry | None:
    """Return the first target that names a head, or the end of its name.

    Raises:
        PatternError: a pattern is invalid, or takes too long.
    """
    return Ignored(targets, release).first(name)
