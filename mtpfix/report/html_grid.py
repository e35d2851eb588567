"""The grid of a panel as a table, and the lists that its cells refer to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from mtpfix.report.html_text import code, prose, text
from mtpfix.report.picture import Cell, Face, Grid, Row
from mtpfix.report.rows import Decider

_WIDE = 48
"""Trunk layers from which on their columns are narrower."""

_KEYS = (
    ("d16", "16", "unquantized"),
    ("d8", "8", "8 bits"),
    ("d6", "6", "6 bits"),
    ("d4", "4", "4 bits"),
    ("dq", "q", "quantized, bits not known"),
    ("dmixed", "\N{PLUS-MINUS SIGN}", "mixed"),
    ("dnone", "\N{EN DASH}", "nothing on disk"),
    ("berror", "!", "building raises an exception"),
    ("bunknown", "?", "not known"),
    ("x", "✗", "differs: outlined"),
)


def rules(panels: int, grids: Iterable[Grid]) -> str:
    """Return the style of a page: which panel a choice shows, and how many layers a cell covers."""
    spans = sorted({cell.span for grid in grids for cell in grid.cells})
    chosen = (
        f'.report:has(input[value="{n}"]:checked) [data-g="{n}"]{{display:block}}'
        for n in range(panels)
    )
    return "\n".join([*chosen, *(f'td[colspan="{n}"]{{--n:{n}}}' for n in spans if n > 1), ""])


def choice(prefix: str, title: str, labels: Sequence[str], chosen: int) -> Iterator[str]:
    """The choice of a panel; titles and labels are HTML."""
    yield f'<fieldset class="releases"><legend>{title}</legend>\n'
    for place, label in enumerate(labels):
        checked = " checked" if place == chosen else ""
        yield (
            f'<input type="radio" name="{prefix}" id="{prefix}g{place}" value="{place}"'
            f'{checked} autocomplete="off"><label for="{prefix}g{place}">{label}</label>\n'
        )
    yield "</fieldset>\n"


def legend(grids: Iterable[Grid], builders: str) -> Iterator[str]:
    """What colours and signs mean, as far as they occur.

    Args:
        grids: all that is on the page.
        builders: who builds what, with its verb.
    """
    faces = {cell.face for grid in grids for cell in grid.cells}
    used = {f"d{half.shade}" for face in faces for half in (face.disk, face.built)}
    used |= {f"b{face.built.shade}" for face in faces}
    used |= {"x" for face in faces if face.verdict.mood == "bad"}
    yield (
        f'<p class="how">Each cell shows what is on disk above, and below it what {builders}, and '
        'the number of the entry that decided.</p>\n<ul class="legend" aria-label="legend">\n'
    )
    for kind, label, meaning in _KEYS:
        if kind in used:
            yield f'<li><span class="key {kind}">{label}</span> {meaning}</li>\n'
    yield "</ul>\n"


class Numbers:
    """Gives every entry and every error that a cell names a number, and lists them."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._deciders: dict[Decider | str, int] = {}
        self._more: dict[str, int] = {}

    def of(self, face: Face) -> tuple[int, str]:
        """Number of the decider, and the ids of all that is to be said."""
        decider = self._deciders.setdefault(face.decider, len(self._deciders) + 1)
        more = [self._more.setdefault(text, len(self._more) + 1) for text in face.more]
        ids = [f"{self._prefix}e{decider}", *(f"{self._prefix}m{n}" for n in more)]
        return decider, " ".join(ids)

    def lists(self) -> Iterator[str]:
        """The numbered lists that cells refer to."""
        yield from self._list("Decided by", "e", map(_decider, self._deciders))
        yield from self._list("What happens", "m", map(prose, self._more))

    def _list(self, title: str, kind: str, texts: Iterable[str]) -> Iterator[str]:
        items = [
            f'<li id="{self._prefix}{kind}{n}">{text}</li>\n' for n, text in enumerate(texts, 1)
        ]
        if items:
            yield f'<h3>{title}</h3>\n<ol class="numbers">\n{"".join(items)}</ol>\n'


def _decider(decider: Decider | str) -> str:
    if isinstance(decider, str):
        return escape(decider)
    return f"{code(decider.spelling)} {text(decider.place)} {code(decider.pointer)}"


def scrolled(grid: Grid, name: str, numbers: Numbers) -> Iterator[str]:
    """A grid that scrolls by itself where it is wider than the page; `name` is HTML."""
    if grid.blocks:
        yield f'<div class="scroll" role="region" tabindex="0" aria-label="modules, {name}">\n'
        yield from _table(grid, name, numbers)
        yield "</div>\n"


def _table(grid: Grid, name: str, numbers: Numbers) -> Iterator[str]:
    kind = f"{_draft_width(len(grid.draft))}{' wide' if len(grid.trunk) > _WIDE else ''}"
    yield f'<table class="grid{kind}" role="grid" aria-readonly="true">\n'
    yield f'<caption class="away">{name}</caption>\n<colgroup>'
    yield '<col class="name">'
    yield '<col class="d">' * len(grid.draft)
    yield f'<col class="gap">{"<col class=t>" * len(grid.trunk)}' if grid.trunk else ""
    yield "</colgroup>\n"
    yield from _head(grid)
    first = True
    for heading, found in grid.blocks:
        yield "<tbody>\n"
        if heading:
            width = 1 + len(grid.draft) + (1 + len(grid.trunk) if grid.trunk else 0)
            yield f'<tr><th scope="rowgroup" colspan="{width}">{escape(heading)}</th></tr>\n'
        for row in found:
            yield from _line(row, grid, numbers, first=first)
            first = False
        yield "</tbody>\n"
    yield "</table>\n"


def _draft_width(layers: int) -> str:
    """How wide a draft layer is: the fewer, the wider."""
    return next((f" d{n}" for n in (9, 4, 2) if layers >= n), "")


def _head(grid: Grid) -> Iterator[str]:
    yield '<thead><tr><th class="corner" rowspan="2" scope="col">module</th>'
    parts = [("MTP draft", grid.draft), ("trunk", grid.trunk)]
    shown = [(title, axis) for title, axis in parts if axis]
    for place, (title, axis) in enumerate(shown):
        yield '<td rowspan="2"></td>' if place else ""
        yield f'<th scope="colgroup" colspan="{len(axis)}">{title}</th>'
    yield "</tr>\n<tr>"
    for _, axis in shown:
        yield from (f'<th scope="col">{"" if n < 0 else n}</th>' for n in axis)
    yield "</tr></thead>\n"


def _line(row: Row, grid: Grid, numbers: Numbers, *, first: bool) -> Iterator[str]:
    yield f'<tr><th scope="row">{escape(row.name).replace(".", ".<wbr>")}</th>'
    cells = [*_cells(row.draft, len(grid.draft), numbers)]
    if grid.trunk:
        cells += ["<td></td>", *_cells(row.trunk, len(grid.trunk), numbers)]
    line = "".join(cells)
    yield line.replace('tabindex="-1"', 'tabindex="0"', 1) if first else line
    yield "</tr>\n"


def _cells(cells: Sequence[Cell], width: int, numbers: Numbers) -> Iterator[str]:
    """The cells of a row, and nothing where a layer has no such module."""
    at = 0
    for cell in cells:
        yield _gap(cell.at - at)
        yield _cell(cell, numbers)
        at = cell.at + cell.span
    yield _gap(width - at)


def _gap(width: int) -> str:
    return f"<td{_span(width)}></td>" if width else ""


def _span(width: int) -> str:
    return f' colspan="{width}"' if width > 1 else ""


def _cell(cell: Cell, numbers: Numbers) -> str:
    disk, built, _, verdict, _ = cell.face
    number, ids = numbers.of(cell.face)
    mark = {"bad": " x", "unsure": " z"}.get(verdict.mood, "")
    said = f"<em> {verdict.sign} {verdict.word}</em>" if verdict.mood != "good" else ""
    return (
        f'<td{_span(cell.span)} class="d{disk.shade} b{built.shade}{mark}" tabindex="-1" '
        f'data-n="{escape(cell.name)}" data-i="{ids}"><b><i>{disk.label}</i> {escape(disk.words)}'
        f"</b><b><i>{built.label}</i>{_short(built.words, said)}{said}<sup>{number}</sup></b></td>"
    )


def _short(built: str, said: str) -> str:
    """What is built; beside a verdict it is what gives way where there is no room for both."""
    return f"<span> {escape(built)}</span>" if said else f" {escape(built)}"
