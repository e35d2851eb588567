"""Tables of Markdown, and what vLLM did in the words of one cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_BAR = "\\|"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "".join(f"{line(cells)}\n" for cells in (heads, ("---",) * len(heads), *rows))


def line(cells: Sequence[str]) -> str:
    """Return one line of a table, without its end."""
    return f"| {' | '.join(cell.replace('|', _BAR) for cell in cells)} |"


def brief(outcome: str) -> str:
    """Return an outcome with the type of an exception, but without its words."""
    kind, _, rest = outcome.partition(": ")
    return f"{kind}: {rest.partition(':')[0]}" if kind == "load_error" else outcome
