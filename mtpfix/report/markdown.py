"""Markdown for the docs, and for pages of the Hub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mtpfix.report.safe import inert


def table(heads: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """The lines of a table."""
    return [_line(heads), _line(["---"] * len(heads)), *map(_line, rows)]


def code(text: str) -> str:
    """A name as it is spelled, whatever it holds."""
    shown = inert(text).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    pad = " " if shown.startswith("`") or shown.endswith("`") or not shown else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
