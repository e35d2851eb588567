"""Cases that share a verdict under some metadata: each verdict is found once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TypeVar

from mtpfix.engines.alike import once
from mtpfix.engines.base import Engine, EngineCase
from mtpfix.model import FAILED, JsonFile, QuantView

_T = TypeVar("_T")

Views = Mapping[Engine, QuantView]
"""The same metadata as each engine reads them."""


def views_of(cases: Sequence[EngineCase], view: QuantView) -> Views:
    """Return the metadata as each engine reads them.

    Args:
        cases: those of one checkpoint.
        view: what the engine of the first case is to read; the others read what they read.
    """
    return {**{case.engine: case.view for case in cases}, cases[0].engine: view}


def read_again(views: Views, configs: Mapping[str, JsonFile]) -> Views | None:
    """Return other metadata as each engine reads them; None: one finds none."""
    found = {engine: engine.metadata(configs) for engine in views}
    read = {engine: view for engine, view in found.items() if view is not None}
    return read if len(read) == len(found) else None


def distinct(cases: Sequence[EngineCase], views: Views) -> tuple[EngineCase, ...]:
    """Return the first case of each verdict."""

    def judged(case: EngineCase, view: QuantView) -> EngineCase:
        case.report(view)
        return case

    return tuple({id(case): case for case in for_each(cases, views, judged)}.values())


def for_each(
    cases: Sequence[EngineCase], views: Views, of: Callable[[EngineCase, QuantView], _T]
) -> list[_T]:
    """Return a value for each case, found once for all that share a verdict."""
    return list(each(cases, views, of))


def each(
    cases: Sequence[EngineCase], views: Views, of: Callable[[EngineCase, QuantView], _T]
) -> Iterator[_T]:
    """Yield the same, one by one."""
    return once(
        cases,
        lambda case: case.fingerprint(views[case.engine]),
        lambda case: of(case, views[case.engine]),
    )


def served(
    cases: Sequence[EngineCase], before: Views, after: Views, asked: Collection[Engine]
) -> set[Engine]:
    """Return the engines that were asked for, or that can load the checkpoint.

    Where an engine fails in every release with its entries as without, they are of no use.

    Args:
        cases: those of one checkpoint.
        before: the metadata as they are.
        after: the metadata as they would be.
        asked: the engines that decide.
    """
    others = [case for case in cases if case.engine not in asked]
    return {*asked} | {
        case.engine
        for views in (before, after)
        for case, fails in zip(others, for_each(others, views, _fails), strict=True)
        if not fails
    }


def _fails(case: EngineCase, view: QuantView) -> bool:
    return case.report(view).outcome in FAILED


def sharing(cases: Sequence[EngineCase]) -> tuple[EngineCase, ...]:
    """Return the cases of all engines that read the same list of entries as the first."""
    lists = {c.engine: (c.view.file, c.view.ignore_pointer, c.view.ignore) for c in cases}
    one = lists[cases[0].engine]
    return tuple(case for case in cases if lists[case.engine] == one)
