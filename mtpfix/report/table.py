"""A table of modules that fits the width: it drops detail before it would break a name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from rich.cells import cell_len
from rich.text import Text

from mtpfix.report.page import Page, mooded, pad, signed, together
from mtpfix.report.rows import Decider, Row, Section
from mtpfix.report.safe import inert

_GAP = 2
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
    "no metadata helps": "limit",
    "never asked": "not asked",
}
"""No wider than the title of their column."""
_BRIEFEST = {
    "no entry matches": "none",
    "no metadata helps": "limit",
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
        if layout.possible and layout.width <= page.width:
            break
    else:
        _put_stacked(page, title, sections)
        _put_legend(page, deciders, _STACKED, verbose=verbose)
        return
    page.line(layout.header())
    for section in sections:
        if section.heading:
            page.line(mooded(" " * _INDENT + section.heading, "strong"))
        for row in section.rows:
            page.line(layout.line(row, section))
            _put_more(page, row, section)
    if verbose or not layout.complete:
        _put_legend(page, deciders, level, verbose=verbose)


class _Layout:
    """Columns of one table at one level of detail."""

    def __init__(
        self,
        title: str,
        sections: Sequence[Section],
        engine: str,
        level: _Level,
        deciders: list[Decider],
    ) -> None:
        self._level = level
        self._deciders = {decider: number for number, decider in enumerate(deciders, 1)}
        self._all_decided = not any(
            isinstance(row.decider, str) for section in sections for row in section.rows
        )
        decided = {"legend": "", "number": "by"}.get(level.decider, "decided by")
        verdict = "" if level.sign else "verdict"
        self._titles = (f"{title} module", "on disk", f"{engine} builds", decided, verdict)
        lines = [
            (_inset(section) + cell_len(row.name), *map(cell_len, self._cells(row)))
            for section in sections
            for row in section.rows
        ]
        titles = (_INDENT + len(self._titles[0]), *map(len, self._titles[1:]))
        self._widths = [max(column) for column in zip(titles, *lines, strict=True)]
        self.width = sum(self._widths) + _GAP * (sum(map(bool, self._widths)) - 1)

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

    def header(self) -> Text:
        first = " " * _INDENT + self._titles[0]
        return self._joined([mooded(text, "quiet") for text in (first, *self._titles[1:])])

    def line(self, row: Row, section: Section) -> Text:
        stored, built, decided, _ = self._cells(row)
        name = Text(" " * _inset(section) + row.name)
        verdict = signed(row.verdict)
        if self._level.sign:
            verdict = mooded(row.verdict.sign, row.verdict.mood)
        cells = [name, Text(stored), Text(built), mooded(decided, "quiet"), verdict]
        return self._joined(cells)

    def _joined(self, cells: Iterable[Text]) -> Text:
        columns = zip(cells, self._widths, strict=True)
        return Text(" " * _GAP).join(pad(cell, width) for cell, width in columns if width)

    def _cells(self, row: Row) -> tuple[str, str, str, str]:
        short = int(self._level.short)
        verdict = row.verdict.sign if self._level.sign else f"{row.verdict.sign} {row.verdict.word}"
        return row.stored[short], row.built[short], self._decided(row.decider), verdict

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


def _inset(section: Section) -> int:
    return _INDENT * 2 if section.heading else _INDENT


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


def _put_more(page: Page, row: Row, section: Section) -> None:
    for text in row.more:
        page.item(Text(), mooded(text, "quiet"), _inset(section) + _INDENT)


def _put_stacked(page: Page, title: str, sections: Sequence[Section]) -> None:
    """Two lines a module, for terminals that are too narrow for columns."""
    page.line(mooded(f"{' ' * _INDENT}{title} modules", "quiet"))
    for section in sections:
        if section.heading:
            page.line(mooded(" " * _INDENT + section.heading, "strong"))
        for row in section.rows:
            page.line(" " * _inset(section) + row.name)
            by = row.decider if isinstance(row.decider, str) else f"by {row.decider.spelling}"
            said = f": {row.stored[1]} on disk, built {row.built[1]}, {by}"
            page.item(Text(), together(signed(row.verdict), Text(said)), _inset(section) + _INDENT)
            _put_more(page, row, section)
