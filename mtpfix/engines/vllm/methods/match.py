"""vLLM's matchers for compressed-tensors, quirks included, per release.

Sources: `should_ignore_layer` and `find_matched_target` in
`quantization/compressed_tensors/utils.py`, `find_matching_patterns` and
`is_equal_or_regex_match` in `quantization/utils/config_utils.py`. Patterns are
those of the `regex` module, as in vLLM, and come from strangers: each match is
bounded in time (`budget.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import regex

from mtpfix.engines.vllm.methods.base import Packed, PatternError, ShardsDifferError
from mtpfix.engines.vllm.methods.budget import Account, Budget, current
from mtpfix.engines.vllm.policy import rules
from mtpfix.model import Entry

LONGEST = 20_000
"""Characters of the longest pattern that is compiled."""
MOST = 5_000
"""More patterns than any list has: each is compiled, and asked about every module."""
UNROLLED = 200_000
"""Parts that a pattern may come to: `regex` builds what must repeat as often as it must."""

_REPEATS = re.compile(r"\{([^{}]*)\}")
_DIGITS = 7
"""Digits of a number of repeats that needs no reckoning: it is too large."""


@dataclass(frozen=True)
class _Pattern:
    position: int
    entry: Entry
    budget: Budget

    @cached_property
    def account(self) -> Account:
        """The compiled pattern; an error each time that it is asked for, if it is not valid."""
        return _account(self.budget, self.entry, self.entry.text[len("re:") :])

    def matches(self, name: str, among: int) -> bool:
        return _answer(self.entry, self.account, name, among)


class Entries:
    """A list of entries, indexed so that exact names cost one look-up.

    Args:
        entries: in the order of the list.
        eager: whether an invalid pattern is an error at once, or only when a name gets to it.

    Raises:
        PatternError: an entry is not a valid regular expression.
    """

    def __init__(self, entries: Iterable[Entry], *, eager: bool = True) -> None:
        self._exact: dict[str, tuple[int, Entry]] = {}
        self._patterns: list[_Pattern] = []
        self._all: list[Entry] = []
        budget = current()
        for position, entry in enumerate(bounded(entries, is_pattern)):
            self._all.append(entry)
            if is_pattern(entry):
                pattern = _Pattern(position, entry, budget)
                self._patterns.append(pattern)
                if eager:
                    _ = pattern.account
            else:
                self._exact.setdefault(entry.text, (position, entry))
        for pattern in self._patterns if eager else ():
            pattern.account.shares(len(self._patterns))

    def exact(self, name: str) -> Entry | None:
        """The entry that is spelled like `name`."""
        found = self._exact.get(name)
        return None if found is None else found[1]

    def first(self, name: str) -> Entry | None:
        """The first entry, in list order, that equals `name` or whose regex fits its start."""
        found = self._exact.get(name)
        for pattern in self._patterns:
            if found is not None and found[0] < pattern.position:
                break
            if pattern.matches(name, len(self._patterns)):
                return pattern.entry
        return None if found is None else found[1]

    def first_in_class(self, cls: str) -> Entry | None:
        """The first entry that names, as a part and in any case, the class `cls`."""
        lowered, number = cls.lower(), len(self._patterns)
        patterns = {pattern.position: pattern for pattern in self._patterns}
        for position, entry in enumerate(self._all):
            pattern = patterns.get(position)
            hit = pattern.matches(cls, number) if pattern else entry.text.lower() in lowered
            if hit:
                return entry
        return None


def is_pattern(entry: Entry) -> bool:
    """Whether compressed-tensors takes an entry for a pattern."""
    return entry.text.startswith("re:")


def bounded(entries: Iterable[Entry], is_one: Callable[[Entry], bool]) -> list[Entry]:
    """The entries, none of them compiled yet.

    Args:
        entries: of a list.
        is_one: whether an entry is a pattern.

    Raises:
        PatternError: too many of them are patterns.
    """
    found = list(entries)
    patterns = [entry for entry in found if is_one(entry)]
    if len(patterns) > MOST:
        reason = f"more than {MOST:,} patterns take too long"
        raise PatternError(patterns[MOST], reason, hangs=True)
    return found


def _unrolled(text: str) -> int:
    """The most parts that a pattern can come to; more than allowed counts as twice that."""
    parts = max(1, len(text))
    for found in _REPEATS.findall(text):
        # With `(?x)` there may be blanks and comments between the digits.
        least = found if "#" in found else found.partition(",")[0]
        digits = "".join(filter(str.isdecimal, least)).lstrip("0")
        if len(digits) > _DIGITS:
            return 2 * UNROLLED
        parts *= int(digits or 1)
    return parts


def found_in(entry: Entry, name: str, among: int = 1) -> bool:
    """Whether an entry, which is a pattern without a mark, fits anywhere in `name`.

    Args:
        entry: the entry.
        name: the name.
        among: how many patterns its list holds.

    Raises:
        PatternError: it is no valid pattern, or takes too long.
    """
    return _answer(entry, _account(current(), entry, entry.text, anywhere=True), name, among)


def fits_start(entry: Entry, pattern: str, name: str, among: int = 1) -> bool:
    """Whether a pattern, written in an entry, fits the start of `name`.

    Args:
        entry: the entry.
        pattern: the part of its text that is the pattern.
        name: the name.
        among: how many patterns its list holds.

    Raises:
        PatternError: it is no valid pattern, or takes too long.
    """
    return _answer(entry, _account(current(), entry, pattern), name, among)


def fits_whole(entry: Entry, name: str, among: int = 1) -> bool:
    """Whether an entry that begins with `re:` fits all of `name`.

    Args:
        entry: the entry.
        name: the name.
        among: how many patterns its list holds.

    Raises:
        PatternError: it is no valid pattern, or takes too long.
    """
    body, budget = entry.text.removeprefix("re:"), current()
    _account(budget, entry, body)  # what it is put into would make some valid that are not
    return _answer(entry, _account(budget, entry, rf"(?:{body})\Z"), name, among)


def _answer(entry: Entry, account: Account, name: str, among: int) -> bool:
    try:
        return account.matches(name, among)
    except TimeoutError as error:
        reason = f"the pattern takes too long, as for {name!r:.120}"
        raise PatternError(entry, reason, hangs=True) from error


def _account(budget: Budget, entry: Entry, text: str, *, anywhere: bool = False) -> Account:
    if len(text) > LONGEST:
        reason = f"a pattern of {len(text)} characters takes too long to compile"
        raise PatternError(entry, reason, hangs=True)
    if _unrolled(text) > UNROLLED:
        raise PatternError(entry, "its repeats fill the memory when it is compiled", hangs=True)
    try:
        return budget.account(text, anywhere=anywhere)
    except (regex.error, OverflowError, RecursionError, ValueError) as error:
        raise PatternError(entry, f"error: {error}", hangs=False) from error


def ignored(name: str, ignore: Entries, packed: Packed, release: str) -> Entry | None:
    """The entry that exempts the module `name`, or None if it is not exempt.

    Raises:
        ShardsDifferError: the list names only some shards of a fused layer.
        PatternError: a pattern takes too long.
    """
    last = name.rpartition(".")[2]
    fused = last in packed
    if not fused or rules("fused_name_first", release) or ignore.exact(name) is not None:
        # In the order of the list: an invalid pattern before the entry that fits is an error.
        found = ignore.first(name)
        if found is not None or not fused:
            return found
    matches = [ignore.first(name.replace(last, shard)) for shard in packed[last]]
    hits = [entry for entry in matches if entry is not None]
    if hits and len(hits) < len(matches):
        text = rules("shards_differ", release).format(name=name, shards=list(packed[last]))
        raise ShardsDifferError(text, hits[0])
    return hits[0] if hits else None


def target(name: str, cls: str, targets: Entries, packed: Packed, release: str) -> Entry | None:
    """The target that a module falls under: by name, by its shards, by its class.

    Raises:
        PatternError: a pattern takes too long.
    """
    by_name = _not_empty(targets.first(name))
    if by_name is not None:
        return by_name
    if rules("shards_before_class", release):
        return _by_shards(name, targets, packed) or targets.first_in_class(cls)
    return _not_empty(targets.first_in_class(cls)) or _by_shards(name, targets, packed)


def _not_empty(entry: Entry | None) -> Entry | None:
    """The entry, unless its text is empty: vLLM takes that for no target, and looks on."""
    return entry if entry is not None and entry.text else None


def _by_shards(name: str, targets: Entries, packed: Packed) -> Entry | None:
    fused = next((key for key in packed if name.endswith(key)), None)
    if fused is None:
        return None
    names = (name.replace(fused, shard) for shard in packed[fused])
    matches = [_not_empty(targets.first(shard)) for shard in names]
    return matches[0] if matches and None not in matches else None
