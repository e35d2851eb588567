"""Entries that are names or regular expressions, asked whether they fit a name.

Patterns are those of the `regex` module, as in the engines, and come from strangers: each match
is bounded in time (`budget.py`), each pattern in length and in what it unrolls to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import regex

from mtpfix.model import Entry
from mtpfix.patterns.budget import Account, Budget, current

LONGEST = 20_000
"""Characters of the longest pattern that is compiled."""
SHORT = 200
"""Entries of the longest list whose answers are shared with lists that are alike."""
MOST = 5_000
"""More patterns than any list has: each is compiled, and asked about every module."""
UNROLLED = 200_000
"""Parts that a pattern may come to: `regex` builds what must repeat as often as it must."""

_REPEATS = re.compile(r"\{([^{}]*)\}")
_DIGITS = 7
"""Digits of a number of repeats that needs no reckoning: it is too large."""


class PatternError(Exception):
    """A pattern that the engine would choke on."""

    def __init__(self, entry: Entry, reason: str, *, hangs: bool) -> None:
        super().__init__(reason)
        self.entry = entry
        self.reason = reason
        self.hangs = hangs


class Listed(Protocol):
    """Entries that can be asked whether one of them is about a name."""

    def first(self, name: str) -> Entry | None:
        """The first entry that the engine would find to fit `name`."""


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
        self._of_class: dict[str, Entry | None] = {}
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
        self._firsts = shared_answers(self._all, "entries")

    def exact(self, name: str) -> Entry | None:
        """The entry that is spelled like `name`."""
        found = self._exact.get(name)
        return None if found is None else found[1]

    def first(self, name: str) -> Entry | None:
        """The first entry, in list order, that equals `name` or whose regex fits its start."""
        if name not in self._firsts:
            self._firsts[name] = self._first(name)
        return self._firsts[name]

    def _first(self, name: str) -> Entry | None:
        found = self._exact.get(name)
        for pattern in self._patterns:
            if found is not None and found[0] < pattern.position:
                break
            if pattern.matches(name, len(self._patterns)):
                return pattern.entry
        return None if found is None else found[1]

    def first_in_class(self, cls: str) -> Entry | None:
        """The first entry that names, as a part and in any case, the class `cls`."""
        if cls not in self._of_class:
            self._of_class[cls] = self._first_in_class(cls)
        return self._of_class[cls]

    def _first_in_class(self, cls: str) -> Entry | None:
        lowered, number = cls.lower(), len(self._patterns)
        patterns = {pattern.position: pattern for pattern in self._patterns}
        for position, entry in enumerate(self._all):
            pattern = patterns.get(position)
            hit = pattern.matches(cls, number) if pattern else entry.text.lower() in lowered
            if hit:
                return entry
        return None


def shared_answers(entries: Sequence[Entry], way: Hashable) -> dict[str, Entry | None]:
    """Return the first entry of a list by name, as far as it was asked; lists that are alike share.

    Releases ask the same lists about the same names; a long list costs more to tell apart.

    Args:
        entries: the list.
        way: how it is compared with names.
    """
    return current().answers((way, *entries)) if len(entries) <= SHORT else {}


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
        reason = f"the pattern takes too long for the name {name!r:.120}"
        raise PatternError(entry, reason, hangs=True) from error


def _account(budget: Budget, entry: Entry, text: str, *, anywhere: bool = False) -> Account:
    if len(text) > LONGEST:
        reason = f"a pattern of {len(text)} characters takes too long to compile"
        raise PatternError(entry, reason, hangs=True)
    if _unrolled(text) > UNROLLED:
        raise PatternError(entry, "its repetitions need too much memory to compile", hangs=True)
    try:
        return budget.account(text, anywhere=anywhere)
    except (regex.error, OverflowError, RecursionError, ValueError) as error:
        raise PatternError(entry, f"error: {error}", hangs=False) from error
