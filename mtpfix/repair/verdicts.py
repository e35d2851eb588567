"""Cases that share a verdict under some metadata: each verdict is found once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from mtpfix.engines.base import EngineCase
from mtpfix.model import QuantView

_T = TypeVar("_T")


def distinct(cases: Sequence[EngineCase], view: QuantView) -> tuple[EngineCase, ...]:
    """Return the first case of each verdict."""
    found = {case.fingerprint(view): case for case in reversed(cases)}
    return tuple(reversed(found.values()))


def for_each(
    cases: Sequence[EngineCase], view: QuantView, of: Callable[[EngineCase], _T]
) -> list[_T]:
    """Return a value for each case, found once for all that share a verdict."""
    known: dict[Hashable, _T] = {}
    found = []
    for case in cases:
        key = case.fingerprint(view)
        if key not in known:
            known[key] = of(case)
        found.append(known[key])
    return found
