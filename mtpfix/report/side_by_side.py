"""What several engines build of one block, beside each other, by the names that all share: on disk.

The names that an engine asks about are its own, so tables of them cannot be put together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mtpfix.model import EngineReport, ModuleReport
from mtpfix.report import grid, rows, wording
from mtpfix.report.grid import Block, Cell
from mtpfix.report.inert_text import inert
from mtpfix.report.page import Page

_ABSENT = "-"

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
        Block(f"{inert(root)}*" if root else "", [_row(name, root, built) for name in members])
        for root, members in layers.items()
    ]
    grid.put(page, ("draft module on disk", "on disk", *titles), blocks)


def _built(modules: Iterable[ModuleReport]) -> Built:
    """Return what an engine makes of each module of the block on disk."""
    shown = (m for m in modules if m.decision.module.part == "draft" and rows.is_shown(m))
    return {name: module for module in shown for name in module.members}


def _row(name: str, root: str, built: Sequence[Built]) -> tuple[Cell, ...]:
    found = [modules.get(name) for modules in built]
    disk = next(module.disk for module in found if module is not None)
    short = grid.cell(inert(name.removeprefix(root)))
    return (short, grid.cell(wording.stored(disk, short=True)), *map(_cell, found))


def _cell(module: ModuleReport | None) -> Cell:
    """What is built, with the sign of the verdict; of a module that is not built, nothing."""
    if module is None:
        return grid.cell(_ABSENT, mood="quiet")
    sign = wording.verdict(module)
    return grid.cell(f"{sign.sign} {wording.built(module.decision, short=True)}", mood=sign.mood)
