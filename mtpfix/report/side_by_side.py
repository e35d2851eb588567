"""What several engines build of one block, beside each other, by the names that all share: on disk.

The names that an engine asks about are its own, so tables of them cannot be put together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from mtpfix.model import EngineReport, ModuleReport
from mtpfix.report import grid, ranges, rows, wording
from mtpfix.report.grid import Block, Cell
from mtpfix.report.inert_text import inert
from mtpfix.report.page import Page

_ABSENT = "-"
_NUMBER = re.compile(r"(?<=\.)(\d{1,9})(?=\.)")
"""The number of an expert, in the name of a module of it."""

_Said = tuple[str, str]
"""A text and its mood."""
Built = dict[str, ModuleReport]
"""Name on disk -> what one engine makes of it."""


def is_possible(judged: Sequence[EngineReport]) -> bool:
    """Return whether each of several engines has one verdict to show."""
    names = [report.engine for report in judged]
    return len(names) > 1 and len(names) == len(set(names))


def put(page: Page, judged: Sequence[EngineReport]) -> None:
    """Write one row for each module of the block on disk, one column for each engine."""
    built = [_built(report.modules) for report in judged]
    names = dict.fromkeys(name for modules in built for name in modules)
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(grid.in_layer(name)[0], []).append(name)
    titles = [f"{wording.engine(report.engine)} builds" for report in judged]
    blocks = [
        Block(f"{inert(root)}*" if root else "", list(_rows(members, root, built)))
        for root, members in layers.items()
    ]
    grid.put(page, ("draft module on disk", "on disk", *titles), blocks)


def _built(modules: Iterable[ModuleReport]) -> Built:
    """Return what an engine makes of each module of the block on disk."""
    shown = (m for m in modules if m.decision.module.part == "draft" and rows.is_shown(m))
    return {name: module for module in shown for name in module.members}


def _rows(names: Sequence[str], root: str, built: Sequence[Built]) -> Iterator[tuple[Cell, ...]]:
    """Yield the rows of a layer; experts of which the same is said share one."""
    alike: dict[tuple[str, str, str, tuple[_Said, ...]], list[int]] = {}
    for name in names:
        found = [modules.get(name) for modules in built]
        disk = next(module.disk for module in found if module is not None)
        before, number, after = [*_NUMBER.split(name.removeprefix(root), maxsplit=1), "", ""][:3]
        key = (before, after, wording.stored(disk, short=True), tuple(map(_said, found)))
        alike.setdefault(key, []).extend([int(number)] if number else [])
    for (before, after, stored, said), numbers in alike.items():
        expert = ranges.part(numbers) if numbers else ""
        cells = (grid.cell(text, mood=mood) for text, mood in said)
        yield (grid.cell(inert(f"{before}{expert}{after}")), grid.cell(stored), *cells)


def _said(module: ModuleReport | None) -> _Said:
    """What is built, with the sign of the verdict; of a module that is not built, nothing."""
    if module is None:
        return _ABSENT, "quiet"
    sign = wording.verdict(module)
    return f"{sign.sign} {wording.built(module.decision, short=True)}", sign.mood
