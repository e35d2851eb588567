"""A table of modules that fits the width: it drops detail before it would break a name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from rich.text import Text

from mtpfix.report.grid import Block, Cell, Grid
from mtpfix.report.inert_text import inert
from mtpfix.report.page import Page, mooded, signed, together
from mtpfix.report.rows import Decider, Row, Section

_INDENT = 2


class _Level(NamedTuple):
    """How much a row says."""

    short: bool
    decider: Literal["place", "entry", "legend", "number"]
    """`legend`: one entry decided everything and stands below; `number`: a number leads to it."""
    limit: int = 0
    """Characters of an entry that are shown."""
    sign: bool = False
    """Whether the verdict is its sign alone."""


_LEVELS = (
    _Level(short=False, decider="place", limit=60),
    _Level(short=True, decider="place", limit=40),
    _Level(short=True, decider="entry", limit=24),
    _Level(short=True, decider="legend"),
    _Level(short=True, decider="number"),
    _Level(short=True, decider="number", sign=True),
)
"""From the richest to the poorest; the first that fits is taken."""

_BRIEF = {
    "no entry matches": "no entry",
    "no entry helps": "limit",
    "never asked": "not asked",
}
"""No wider than the title of their column."""
_BRIEFEST = {
    "no entry matches": "none",
    "no entry helps": "limit",
    "never asked": "-",
}
"""Where each decider is a number."""

_STACKED = _Level(short=True, decider="entry")


def put_table(
    page: Page, title: str, sections: Sequence[Section], engine: str, *, verbose: bool
) -> None:
    """Writes the table of one part (`draft`, `trunk`) and a legend where the rows need one."""
    deciders = list(dict.fromkeys(_deciders(sections)))
    for level in _LEVELS:
        layout = _Layout(title, sections, engine, level, deciders)
        if layout.possible and (grid := layout.grid()).width <= page.width:
            grid.put(page)
            break
    else:
        _stacked(title, sections).put(page)
        _put_legend(page, deciders, _STACKED, verbose=verbose)
        return
    if verbose or not layout.complete:
        _put_legend(page, deciders, level, verbose=verbose)


class _Layout:
    """One table at one level of detail."""

    def __init__(
        self,
        title: str,
        sections: Sequence[Section],
        engine: str,
        level: _Level,
        deciders: list[Decider],
    ) -> None:
        self._title, self._builds = title, f"{engine} builds"
        self._sections, self._level = sections, level
        self._deciders = {decider: number for number, decider in enumerate(deciders, 1)}
        self._all_decided = not any(
            isinstance(row.decider, str) for section in sections for row in section.rows
        )

    @property
    def possible(self) -> bool:
        """Whether every entry can be told from the others by what its rows show."""
        if self._level.decider == "legend":
            return len(self._deciders) == 1 and self._all_decided
        return len({self._decided(decider) for decider in self._deciders}) == len(self._deciders)

    @property
    def complete(self) -> bool:
        """Whether the rows say all that a person needs to find the entries."""
        whole = (len(d.spelling) <= self._level.limit and ":" in d.place for d in self._deciders)
        return self._level.decider == "place" and all(whole)

    def grid(self) -> Grid:
        """Return its columns."""
        decided = {"legend": "", "number": "by"}.get(self._level.decider, "decided by")
        verdict = "" if self._level.sign else "verdict"
        titles = (_indented(f"{self._title} module"), "on disk", self._builds, decided, verdict)
        return Grid(
            [mooded(title, "quiet") for title in titles],
            [
                Block(section.heading, [self._cells(row) for row in section.rows], _more(section))
                for section in self._sections
            ],
        )

    def _cells(self, row: Row) -> Sequence[Cell]:
        short = int(self._level.short)
        verdict = signed(row.verdict)
        if self._level.sign:
            verdict = mooded(row.verdict.sign, row.verdict.mood)
        decided = mooded(self._decided(row.decider), "quiet")
        plain = map(Text, (row.name, row.stored[short], row.built[short]))
        return [[text] for text in (*plain, decided, verdict)]

    def _decided(self, decider: Decider | str) -> str:
        if self._level.decider == "legend":
            return ""
        if isinstance(decider, str):
            brief = _BRIEFEST if self._level.decider == "number" else _BRIEF
            return decider if self._level.decider == "place" else brief.get(decider, decider)
        if self._level.decider == "number":
            return f"[{self._deciders[decider]}]"
        spelling = inert(decider.spelling, self._level.limit)
        return f"{spelling}  {decider.place}" if self._level.decider == "place" else spelling


def _indented(title: str) -> str:
    return " " * _INDENT + title


def _more(section: Section) -> list[list[Text]]:
    """Return the further lines of each row."""
    return [[mooded(text, "quiet") for text in row.more] for row in section.rows]


def _deciders(sections: Iterable[Section]) -> Iterator[Decider]:
    for section in sections:
        yield from (row.decider for row in section.rows if isinstance(row.decider, Decider))


def _put_legend(page: Page, deciders: Sequence[Decider], level: _Level, *, verbose: bool) -> None:
    label = "all decided by  " if level.decider == "legend" else "decided by  "
    for number, decider in enumerate(deciders, 1):
        parts = [f"[{number}]"] if level.decider == "number" else []
        parts += [decider.spelling, decider.place]
        parts += [decider.pointer] if verbose or ":" not in decider.place else []
        page.item(mooded(label, "quiet"), mooded("  ".join(parts), "quiet"), _INDENT)
        label = " " * len(label)


def _stacked(title: str, sections: Sequence[Section]) -> Grid:
    """Return two lines a module, for terminals that are too narrow for columns."""
    blocks = []
    for section in sections:
        notes = [
            [_sentence(row), *more] for row, more in zip(section.rows, _more(section), strict=True)
        ]
        blocks.append(Block(section.heading, [[[Text(row.name)]] for row in section.rows], notes))
    return Grid([mooded(_indented(f"{title} modules"), "quiet")], blocks)


def _sentence(row: Row) -> Text:
    by = row.decider if isinstance(row.decider, str) else f"by {row.decider.spelling}"
    said = f": {row.stored[1]} on disk, built {row.built[1]}, {by}"
    return together(signed(row.verdict), Text(said))
