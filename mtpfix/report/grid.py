"""Columns of text that fit the width, or else the same cells one below the other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
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


def in_layer(name: str) -> tuple[str, str]:
    """The prefix of the layer that a module stands in, with its last dot, and the rest."""
    found = _LAYER.fullmatch(name)
    return ("", name) if found is None else (found["root"], found["rest"])


def cell(*lines: str, mood: str = "") -> Cell:
    """A cell of plain lines in one mood."""
    return [mooded(line, mood) for line in lines]


def put(page: Page, titles: Sequence[str], blocks: Sequence[Block]) -> None:
    """Writes blocks under common column titles.

    Where the columns do not fit, empty and quiet cells are left out of what is stacked.
    """
    insets = [_INDENT * (2 if block.heading else 1) for block in blocks]
    widths = [len(title) for title in titles]
    widths[0] += _INDENT
    for inset, block in zip(insets, blocks, strict=True):
        for row in block.rows:
            found = [_width(entry) for entry in row]
            found[0] += inset
            widths = [max(pair) for pair in zip(widths, found, strict=True)]
    fits = sum(widths) + _GAP * (len(widths) - 1) <= page.width
    if fits:
        _put_row(page, [cell(title, mood="quiet") for title in titles], widths, _INDENT)
    for inset, block in zip(insets, blocks, strict=True):
        if block.heading:
            page.line(mooded(" " * _INDENT + block.heading, "strong"))
        for row in block.rows:
            if fits:
                _put_row(page, row, widths, inset)
            else:
                _put_stacked(page, titles, row, inset)


def _width(entry: Iterable[Text]) -> int:
    return max((cell_len(line.plain) for line in entry), default=0)


def _put_row(page: Page, row: Sequence[Cell], widths: Sequence[int], inset: int) -> None:
    first, *others = row
    cells = [[Text(" " * inset) + line for line in first], *others]
    for lines in zip_longest(*cells, fillvalue=Text()):
        padded = [pad(line, width) for line, width in zip(lines, widths, strict=True)]
        page.line(Text(" " * _GAP).join(padded))


def _put_stacked(page: Page, titles: Sequence[str], row: Sequence[Cell], inset: int) -> None:
    """The first cell on a line of its own, the others below it, each after its title."""
    first, *others = row
    for line in first:
        page.line(Text(" " * inset) + line)
    said = [
        Text.assemble((f"{title} ", STYLES["quiet"]), Text(", ").join(told))
        for title, entry in zip(titles[1:], others, strict=True)
        if (told := [line for line in entry if line.plain and line.style != STYLES["quiet"]])
    ]
    if said:
        page.item(Text(), Text("; ").join(said), inset + _INDENT)
