"""The time that patterns may take: it belongs to the lists that are judged together.

Patterns come from strangers, and some never end. Each is charged with the time that it takes, and
given up when that is too much. The account is opened for one judgement of one checkpoint and
closed with it, so that a verdict does not depend on what the process judged before. Only what
cannot change a verdict outlives it: the compiled patterns.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import regex

from mtpfix.model import Entry

SECONDS = 0.25
"""Longest time that one pattern may take on one name."""
BUDGET = 2.0
"""Longest time, in seconds, that one pattern may take on all names together."""
TOGETHER = 10.0
"""Seconds that the patterns of a list may take: each has its share of it."""
LEAST = 0.02
"""Seconds of the smallest share: no honest pattern takes so long, on the busiest machine."""
QUICK = 0.005
"""Seconds of an answer that costs nothing."""

_compiled = lru_cache(maxsize=10_000)(regex.compile)


class Account:
    """A pattern, its answers so far, and the time that they took.

    Args:
        text: the pattern.
        anywhere: whether it may fit in the midst of a name, and not only at its start.

    Raises:
        regex.error, OverflowError, RecursionError, ValueError: it is no valid pattern.
    """

    def __init__(self, text: str, *, anywhere: bool) -> None:
        compiled: Any = _compiled(text)
        self._ask = compiled.search if anywhere else compiled.match
        self._answers: dict[str, bool] = {}
        self._spent = 0.0
        self._share = BUDGET

    def shares(self, among: int) -> None:
        """Say how many patterns share the time; the smallest share counts from then on.

        Some rules look at the entries of a long list one by one, and have no more time for it.
        """
        self._share = min(self._share, max(LEAST, TOGETHER / among))

    def matches(self, name: str, among: int) -> bool:
        """Return whether the pattern fits `name`, as it is asked.

        The limit of `regex` counts what all threads of the process do. So a pattern is charged
        with the time of its own thread, and asked again where others used the limit up.

        Args:
            name: the name.
            among: how many patterns there are that share the time.

        Raises:
            TimeoutError: it takes too long, for one name or for all so far.
        """
        if name not in self._answers:
            self.shares(among)
            self._answers[name] = self._asked(name)
        return self._answers[name]

    def _asked(self, name: str) -> bool:
        limit = min(SECONDS, self._share)
        while self._spent <= self._share:
            begin, enough = time.thread_time(), limit
            try:
                return self._ask(name, timeout=limit) is not None
            except MemoryError:  # a pattern that calls itself
                enough = 0
            except TimeoutError:
                enough = limit / 2
            finally:
                took = time.thread_time() - begin
                if took > enough:
                    self._spent = 2 * self._share  # one such name is enough
                elif took > QUICK:
                    self._spent += took
        raise TimeoutError


class Budget:
    """The accounts of all patterns that are judged together."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._anywhere: dict[str, Account] = {}
        self._answers: dict[Hashable, dict[str, Entry | None]] = {}

    def answers(self, of: Hashable) -> dict[str, Entry | None]:
        """Return the first entry of a list by name, as far as it was asked; lists share it."""
        return self._answers.setdefault(of, {})

    def account(self, text: str, *, anywhere: bool = False) -> Account:
        """Return the account of a pattern, which is opened where there is none.

        Raises:
            regex.error, OverflowError, RecursionError, ValueError: it is no valid pattern.
        """
        accounts = self._anywhere if anywhere else self._accounts
        found = accounts.get(text)
        if found is None:
            found = accounts[text] = Account(text, anywhere=anywhere)
        return found


_shared: ContextVar[Budget | None] = ContextVar("mtpfix_budget", default=None)


@contextmanager
def shared() -> Iterator[None]:
    """Have all lists that are asked within share one budget; within another, that one goes on.

    Also a decorator: each call of the function is then one judgement.
    """
    if _shared.get() is not None:
        yield
        return
    token = _shared.set(Budget())
    try:
        yield
    finally:
        _shared.reset(token)


def current() -> Budget:
    """Return the budget that is shared here; where none is, a new one."""
    return _shared.get() or Budget()
