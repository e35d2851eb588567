"""Columns of text that fit the width, or else the same cells one below the other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text

from mtpfix.report.page import STYLES, Page, mooded, pad

_GAP = 2
_INDENT = 2

_LAYER = re.compile(r"(?P<root>.*?\.\d+\.)(?P<rest>.+)")

Cell = Sequence[Text]
"""One cell: its lines."""


class Block(NamedTuple):
    """Rows below a common heading; without heading if that is empty."""

    heading: str
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[Sequence[Text]] = ()
    """Lines below each of the rows, which may be longer than its columns."""

    @property
    def inset(self) -> int:
        """How far its rows stand in."""
        return _INDENT * (2 if self.heading else 1)


class Grid:
    """Blocks under common titles, a line for each line of a row; empty columns are left out.

    Args:
        titles: the first with its indent; all empty: none is written.
        blocks: what stands below.

    Attributes:
        width: columns of the terminal that it takes, without the notes.
    """

    def __init__(self, titles: Sequence[Text], blocks: Sequence[Block]) -> None:
        self._titles, self._blocks = titles, blocks
        found = [[cell_len(title.plain) for title in titles]]
        for block in blocks:
            for first, *others in block.rows:
                found.append([block.inset + _width(first), *map(_width, others)])
        self._widths = [max(column) for column in zip(*found, strict=True)]
        self.width = sum(self._widths) + _GAP * (sum(map(bool, self._widths)) - 1)

    def put(self, page: Page) -> None:
        """Write it, however wide it is."""
        if any(self._titles):
            self._put_row(page, [[title] for title in self._titles], 0)
        for block in self._blocks:
            if block.heading:
                page.line(mooded(" " * _INDENT + block.heading, "strong"))
            for row, notes in zip_longest(block.rows, block.notes, fillvalue=()):
                self._put_row(page, row, block.inset)
                for note in notes:
                    page.item(Text(), note, block.inset + _INDENT)

    def _put_row(self, page: Page, row: Sequence[Cell], inset: int) -> None:
        first, *others = row
        cells = [[Text(" " * inset) + line for line in first], *others] if inset else row
        for lines in zip_longest(*cells, fillvalue=Text()):
            columns = zip(lines, self._widths, strict=True)
            page.line(Text(" " * _GAP).join(pad(line, width) for line, width in columns if width))


def in_layer(name: str) -> tuple[str, str]:
    """The prefix of the layer that a module stands in, with its last dot, and the rest."""
    found = _LAYER.fullmatch(name)
    return ("", name) if found is None else (found["root"], found["rest"])


def cell(*lines: str, mood: str = "") -> Cell:
    """A cell of plain lines in one mood."""
    return [mooded(line, mood) for line in lines]


def put(page: Page, titles: Sequence[str], blocks: Sequence[Block]) -> None:
    """Write blocks under titles; the cells of a row one below the other where they do not fit."""
    first, *others = (mooded(title, "quiet") for title in titles)
    grid = Grid([Text(" " * _INDENT) + first, *others], blocks)
    if grid.width > page.width:
        grid = Grid([Text()], [_stacked(block, titles) for block in blocks])
    grid.put(page)


def _stacked(block: Block, titles: Sequence[str]) -> Block:
    """Return rows of their first cells, each with the others below it."""
    notes = [list(_said(titles[1:], row[1:])) for row in block.rows]
    return Block(block.heading, [row[:1] for row in block.rows], notes)


def _said(titles: Sequence[str], row: Sequence[Cell]) -> Iterator[Text]:
    """Return what a row has to say under each title, without empty and quiet cells."""
    said = [
        Text.assemble((f"{title} ", STYLES["quiet"]), Text(", ").join(told))
        for title, entry in zip(titles, row, strict=True)
        if (told := [line for line in entry if line.plain and line.style != STYLES["quiet"]])
    ]
    if said:
        yield Text("; ").join(said)


def _width(entry: Iterable[Text]) -> int:
    return max((cell_len(line.plain) for line in entry), default=0)
