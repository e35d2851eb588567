"""The report as one page that needs no network: a grid of layers and modules, and the findings.

The page runs one script and one style sheet, both of our own, and its policy lets in
nothing else, whatever a name from a checkpoint tries to be.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib import resources

from mtpfix import __version__
from mtpfix.model import Finding, Report
from mtpfix.report import ranges, rows, wording
from mtpfix.report.inert_text import PROSE_LIMIT, inert
from mtpfix.report.picture import Cell, Face, Grid, Panel, Row, panels
from mtpfix.report.rows import Decider
from mtpfix.report.wording import Sign

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


def render(*reports: Report) -> str:
    """One page for all reports."""
    drawn = [panels(report) for report in reports]
    body = "".join(_body(reports, drawn))
    script, style = _own("page.js"), f"{_own('page.css')}{_rules(drawn)}"
    policy = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; {_CLOSED}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{_title(reports)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


_CLOSED = "base-uri 'none'; form-action 'none'"


def _own(name: str) -> str:
    return (resources.files("mtpfix") / "data" / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _rules(drawn: Sequence[Sequence[Panel]]) -> str:
    """Which panel a choice shows, and how many layers a cell covers."""
    most = max(map(len, drawn), default=0)
    cells = (cell for found in drawn for panel in found for cell in panel.grid.cells)
    spans = sorted({cell.span for cell in cells})
    chosen = (
        f'.report:has(input[value="{n}"]:checked) [data-g="{n}"]{{display:block}}'
        for n in range(most)
    )
    return "\n".join([*chosen, *(f'td[colspan="{n}"]{{--n:{n}}}' for n in spans if n > 1), ""])


def _title(reports: Sequence[Report]) -> str:
    if len(reports) == 1:
        engine = wording.engines(reports[0].engines)
        return f"{_text(reports[0].target.name)}: MTP on {engine}"
    judged = wording.engines(engine for report in reports for engine in report.engines)
    return f"{wording.count(len(reports), 'target')}: MTP on {judged}"


# --- text --------------------------------------------------------------------


def _text(text: str, limit: int = PROSE_LIMIT) -> str:
    return escape(inert(text, limit))


def _name(report: Report) -> str:
    return _text(report.target.name) or "(the empty name)"


def _code(text: str) -> str:
    return f"<code>{_text(text) or '(the empty name)'}</code>"


def _prose(text: str) -> str:
    """A sentence; what stands in backticks is a name."""
    parts = inert(text, PROSE_LIMIT).split("`")
    closed = len(parts) - 1 if len(parts) % 2 else len(parts) - 2
    shown = [escape(part) for part in parts]
    for number in range(1, closed, 2):
        shown[number] = f"<code>{shown[number]}</code>"
    if len(parts) % 2 == 0:
        shown[-2:] = [f"{shown[-2]}`{shown[-1]}"]
    return "".join(shown)


def _signed(sign: Sign, text: str = "") -> str:
    """Sign and word in their colour; the word is there for who sees neither."""
    said = text or sign.word
    return f'<span class="{sign.mood}"><span aria-hidden="true">{sign.sign}</span> {said}</span>'


# --- the page ----------------------------------------------------------------


def _body(reports: Sequence[Report], drawn: Sequence[Sequence[Panel]]) -> Iterator[str]:
    yield "<main>\n"
    if len(reports) != 1:
        yield f"<h1>{wording.count(len(reports), 'target')}</h1>\n"
        yield from _contents(reports)
    for number, (report, found) in enumerate(zip(reports, drawn, strict=True)):
        level = 1 if len(reports) == 1 else 2
        yield from _section(report, found, number, level)
    yield f"</main>\n<footer>mtpfix {__version__}</footer>\n"
    yield '<div id="tip" class="tip" hidden></div>\n'


def _contents(reports: Sequence[Report]) -> Iterator[str]:
    yield '<nav aria-label="targets"><ul>\n'
    for number, report in enumerate(reports):
        sign = wording.overall(report)
        yield f'<li><a href="#r{number}">{_text(report.target.name)}</a> {_signed(sign)}</li>\n'
    yield "</ul></nav>\n"


def _section(report: Report, found: Sequence[Panel], number: int, level: int) -> Iterator[str]:
    sign, said = wording.overall(report), wording.sentence(report)
    tally = f": {wording.tally(report.findings)}" if report.findings else ""
    verdict = f"{said[:1].upper()}{said[1:]}{tally}."
    yield f'<section class="report" id="r{number}" aria-labelledby="r{number}h">\n'
    yield f'<h{level} id="r{number}h">{_name(report)}</h{level}>\n'
    yield f'<p class="verdict">{_signed(sign, _prose(verdict))}</p>\n'
    yield from _facts(report)
    for note in report.notes:
        yield f"<p>Note: {_prose(note)}</p>\n"
    numbers = _Numbers(f"r{number}")
    if found:
        yield from _releases(report, found, number)
        yield from _legend(report, found)
        for place, panel in enumerate(found):
            yield from _panel(report, panel, place, numbers)
        yield from numbers.lists()
    yield from _findings(report)
    following = wording.next_command(report)
    if following is not None:
        yield f"<p>Next: {_code(following[0])} {escape(following[1])}.</p>\n"
    yield "</section>\n"


def _facts(report: Report) -> Iterator[str]:
    facts = [(label, _text(said)) for label, said in wording.facts(report)]
    if report.target.revision:
        facts.insert(0, ("revision", _text(report.target.revision)))
    yield from _described(facts)


def _described(facts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Labels, and what is said of each as HTML."""
    yield "<dl>\n"
    for label, said in facts:
        yield f"<dt>{escape(label)}</dt><dd>{said}</dd>\n"
    yield "</dl>\n"


def _releases(report: Report, found: Sequence[Panel], number: int) -> Iterator[str]:
    """The choice of releases; the newest is chosen."""
    newest = max(range(len(found)), key=lambda place: _newest(found[place]))
    engine = wording.engines(report.engines)
    yield f'<fieldset class="releases"><legend>{engine} release{_where(report)}</legend>\n'
    for place, panel in enumerate(found):
        checked = " checked" if place == newest else ""
        sign = wording.OUTCOMES[panel.members[0].outcome]
        name = f"r{number}"
        yield (
            f'<input type="radio" name="{name}" id="{name}g{place}" value="{place}"'
            f'{checked} autocomplete="off"><label for="{name}g{place}">'
            f"{_places(report, panel)} {_signed(sign)}</label>\n"
        )
    yield "</fieldset>\n"


def _newest(panel: Panel) -> tuple[tuple[int, ...], int, str]:
    return max(ranges.age(engine.version) for engine in panel.members)


def _places(report: Report, panel: Panel) -> str:
    if _where(report):
        name = panel.members[0].engine
        known = (engine.version for engine in report.engines if engine.engine == name)
        span = ranges.releases((engine.version for engine in panel.members), known)
        several = wording.heading(report.engines) != wording.engine(name)
        return _text(f"{wording.engine(name)} {span}" if several else span)
    return _text(wording.release_ranges(panel.members, report.engines))


def _where(report: Report) -> str:
    """The platform, where there is only one."""
    platforms = {engine.platform for engine in report.engines}
    return f" on {platforms.pop()}" if len(platforms) == 1 else ""


# --- a panel -----------------------------------------------------------------


class _Numbers:
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
        yield from self._list("What happens", "m", map(_prose, self._more))

    def _list(self, title: str, kind: str, texts: Iterable[str]) -> Iterator[str]:
        items = [
            f'<li id="{self._prefix}{kind}{n}">{text}</li>\n' for n, text in enumerate(texts, 1)
        ]
        if items:
            yield f'<h3>{title}</h3>\n<ol class="numbers">\n{"".join(items)}</ol>\n'


def _decider(decider: Decider | str) -> str:
    if isinstance(decider, str):
        return escape(decider)
    return f"{_code(decider.spelling)} {_text(decider.place)} {_code(decider.pointer)}"


def _panel(report: Report, panel: Panel, place: int, numbers: _Numbers) -> Iterator[str]:
    sign = wording.OUTCOMES[panel.members[0].outcome]
    name = _places(report, panel)
    if wording.heading(report.engines) != "releases":
        name = f"{wording.engine(panel.members[0].engine)} {name}"
    yield f'<div class="panel" data-g="{place}">\n'
    yield f"<h2>{escape(name)}: {_signed(sign)}</h2>\n<p>{_prose(panel.behind)}</p>\n"
    if panel.grid.blocks:
        yield f'<div class="scroll" role="region" tabindex="0" aria-label="modules, {name}">\n'
        yield from _table(panel.grid, name, numbers)
        yield "</div>\n"
    yield "</div>\n"


def _table(grid: Grid, name: str, numbers: _Numbers) -> Iterator[str]:
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


def _line(row: Row, grid: Grid, numbers: _Numbers, *, first: bool) -> Iterator[str]:
    yield f'<tr><th scope="row">{escape(row.name).replace(".", ".<wbr>")}</th>'
    cells = [*_cells(row.draft, len(grid.draft), numbers)]
    if grid.trunk:
        cells += ["<td></td>", *_cells(row.trunk, len(grid.trunk), numbers)]
    line = "".join(cells)
    yield line.replace('tabindex="-1"', 'tabindex="0"', 1) if first else line
    yield "</tr>\n"


def _cells(cells: Sequence[Cell], width: int, numbers: _Numbers) -> Iterator[str]:
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


def _cell(cell: Cell, numbers: _Numbers) -> str:
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


# --- the rest ----------------------------------------------------------------


def _legend(report: Report, found: Sequence[Panel]) -> Iterator[str]:
    """What colours and signs mean, as far as they occur."""
    faces = {cell.face for panel in found for cell in panel.grid.cells}
    used = {f"d{half.shade}" for face in faces for half in (face.disk, face.built)}
    used |= {f"b{face.built.shade}" for face in faces}
    used |= {"x" for face in faces if face.verdict.mood == "bad"}
    yield (
        f'<p class="how">Each cell shows what is on disk above, and below it what '
        f"{wording.builders(report.engines)}, and the number "
        'of the entry that decided.</p>\n<ul class="legend" aria-label="legend">\n'
    )
    for kind, label, meaning in _KEYS:
        if kind in used:
            yield f'<li><span class="key {kind}">{label}</span> {meaning}</li>\n'
    yield "</ul>\n"
    layers = {len(panel.grid.trunk) for panel in found}
    if (report.model.num_hidden_layers or 0) > max(layers):
        how = f"mtpfix inspect {inert(report.target.name)} --format html"
        yield (
            "<p>Modules of the trunk (the target model without its MTP block) are left out unless "
            f"they have a problem; {_code(how)} shows all of them.</p>\n"
        )


def _findings(report: Report) -> Iterator[str]:
    if report.findings:
        yield "<h2>Findings</h2>\n"
    for finding in report.findings:
        yield from _finding(finding, report)


def _finding(finding: Finding, report: Report) -> Iterator[str]:
    sign = wording.severity(finding)
    yield f'<article class="finding {sign.mood}">\n'
    yield f"<h3>{_signed(sign, f'{_text(finding.code)} {sign.word}')}</h3>\n"
    yield f"<p>{_prose(finding.message)}</p>\n"
    facts = []
    if finding.where is not None:
        place = rows.where(finding.where.file, finding.where.line)
        facts.append(("where", f"{escape(place)} {_code(finding.where.pointer)}"))
    reach = wording.release_range(finding, report.engines)
    if reach is not None:
        facts.append((wording.heading(report.engines), _text(reach)))
    if finding.confidence != "run":
        facts.append(("evidence", wording.GRADES[finding.confidence]))
    if finding.fix is not None:
        facts.append(
            ("fix", f"{_prose(finding.fix.title)} ({_prose(wording.how_to(finding.fix))})")
        )
    if facts:
        yield from _described(facts)
    yield "</article>\n"
