"""The one loop: try a step on the best so far, and keep the result if it is better. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def climb(
    start: T,
    steps: Iterable[Callable[[T], T | None]],
    is_better: Callable[[T, T], bool],
    is_right: Callable[[T], bool] = lambda _: False,
) -> T:
    """Return what is best after each step was tried on what was best before it.

    Args:
        start: what is there.
        steps: each makes something of the best so far; None: there is nothing to try.
        is_better: whether the first is to take the place of the second.
        is_right: whether nothing more need be tried.
    """
    best = start
    if is_right(best):
        return best
    for step in steps:
        tried = step(best)
        if tried is None or not is_better(tried, best):
            continue
        best = tried
        if is_right(best):
            break
    return best
