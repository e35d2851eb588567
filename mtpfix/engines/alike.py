"""Cases that are judged alike: each verdict is found once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")
_T = TypeVar("_T")


def once(
    items: Iterable[_Item], key: Callable[[_Item], Hashable], of: Callable[[_Item], _T]
) -> Iterator[_T]:
    """Yield a value for each item, found once for all that are alike.

    Args:
        items: cases, or what is said of them.
        key: what the value rests on (`EngineCase.fingerprint`), as far as is known: finding a value
            may tell items apart that were alike before.
        of: finds the value.
    """
    done: list[tuple[_Item, _T]] = []
    known: dict[Hashable, _T] = {}
    for item in items:
        own = key(item)
        if own not in known:
            done.append((item, of(item)))
            known = {key(each): value for each, value in done}
            own = key(item)
        yield known[own]
