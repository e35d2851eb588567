"""The report as one page that needs no network: a grid of layers and modules, and the findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from mtpfix.model import Acceptance, EngineReport, Finding, Report
from mtpfix.report import ranges, rows, wording
from mtpfix.report.html_grid import Numbers, choice, legend, rules, scrolled
from mtpfix.report.html_text import code, described, document, prose, signed, text
from mtpfix.report.inert_text import inert
from mtpfix.report.picture import Panel, panels
from mtpfix.report.wording import Sign


def render(*reports: Report) -> str:
    """One page for all reports."""
    drawn = [panels(report) for report in reports]
    most = max(map(len, drawn), default=0)
    style = rules(most, (panel.grid for found in drawn for panel in found))
    return document(_title(reports), _body(reports, drawn), style)


def _title(reports: Sequence[Report]) -> str:
    if len(reports) == 1:
        engine = wording.engines(reports[0].engines)
        return f"{text(reports[0].target.name)}: MTP on {engine}"
    judged = wording.engines(engine for report in reports for engine in report.engines)
    return f"{wording.count(len(reports), 'target')}: MTP on {judged}"


def target_name(report: Report) -> str:
    """Return the name of what was judged, as HTML."""
    return text(report.target.name) or "(the empty name)"


# --- the page ----------------------------------------------------------------


def _body(reports: Sequence[Report], drawn: Sequence[Sequence[Panel]]) -> Iterator[str]:
    if len(reports) != 1:
        yield f"<h1>{wording.count(len(reports), 'target')}</h1>\n"
        yield from _contents(reports)
    for number, (report, found) in enumerate(zip(reports, drawn, strict=True)):
        level = 1 if len(reports) == 1 else 2
        yield from _section(report, found, number, level)


def _contents(reports: Sequence[Report]) -> Iterator[str]:
    yield '<nav aria-label="targets"><ul>\n'
    for number, report in enumerate(reports):
        sign = wording.overall(report)
        yield f'<li><a href="#r{number}">{text(report.target.name)}</a> {signed(sign)}</li>\n'
    yield "</ul></nav>\n"


def _section(report: Report, found: Sequence[Panel], number: int, level: int) -> Iterator[str]:
    sign, said = wording.overall(report), wording.sentence(report)
    tally = f": {wording.tally(report.findings)}" if report.findings else ""
    verdict = f"{said[:1].upper()}{said[1:]}{tally}."
    yield f'<section class="report" id="r{number}" aria-labelledby="r{number}h">\n'
    yield f'<h{level} id="r{number}h">{target_name(report)}</h{level}>\n'
    yield f'<p class="verdict">{signed(sign, prose(verdict))}</p>\n'
    yield from _facts(report)
    for note in report.notes:
        yield f"<p>Note: {prose(note)}</p>\n"
    if found:
        yield from _releases(report, found, number)
        yield from legend((panel.grid for panel in found), wording.builders(report.engines))
        yield from _left_out(report, found)
        for place, panel in enumerate(found):
            yield from _panel(report, panel, place, Numbers(f"r{number}g{place}"))
    yield from _findings(report)
    following = wording.next_command(report)
    if following is not None:
        yield f"<p>Next: {code(following[0])} {escape(following[1])}.</p>\n"
    yield "</section>\n"


def _facts(report: Report) -> Iterator[str]:
    facts = [(label, text(said)) for label, said in wording.facts(report)]
    if report.target.revision:
        facts.insert(0, ("revision", text(report.target.revision)))
    yield from described(facts)


def _releases(report: Report, found: Sequence[Panel], number: int) -> Iterator[str]:
    """The choice of releases; the newest is chosen."""
    newest = max(range(len(found)), key=lambda place: newest_of(found[place].members))
    title = f"{wording.engines(report.engines)} release{_where(report)}"
    labels = [
        f"{places(report, panel.members)} {signed(wording.OUTCOMES[panel.members[0].outcome])}"
        for panel in found
    ]
    yield from choice(f"r{number}", title, labels, newest)


def newest_of(members: Sequence[EngineReport]) -> tuple[tuple[int, ...], int, str]:
    """Return the sorting key of the newest release among some."""
    return max(ranges.age(engine.version) for engine in members)


def places(report: Report, members: Sequence[EngineReport]) -> str:
    """Return releases as ranges, as HTML; engine and platform where the report has several."""
    if _where(report):
        name = members[0].engine
        known = (engine.version for engine in report.engines if engine.engine == name)
        span = ranges.releases((engine.version for engine in members), known)
        several = wording.heading(report.engines) != wording.engine(name)
        return text(f"{wording.engine(name)} {span}" if several else span)
    return text(wording.release_ranges(members, report.engines))


def _where(report: Report) -> str:
    """The platform, where there is only one."""
    platforms = {engine.platform for engine in report.engines}
    return f" on {platforms.pop()}" if len(platforms) == 1 else ""


# --- a panel -----------------------------------------------------------------


def _panel(report: Report, panel: Panel, place: int, numbers: Numbers) -> Iterator[str]:
    sign = wording.OUTCOMES[panel.members[0].outcome]
    name = places(report, panel.members)
    if wording.heading(report.engines) != "releases":
        name = f"{wording.engine(panel.members[0].engine)} {name}"
    yield f'<div class="panel" data-g="{place}">\n'
    yield f"<h2>{name}: {signed(sign)}</h2>\n<p>{prose(panel.behind)}</p>\n"
    yield from scrolled(panel.grid, name, numbers)
    yield from numbers.lists()
    yield "</div>\n"


# --- the rest ----------------------------------------------------------------


def _left_out(report: Report, found: Sequence[Panel]) -> Iterator[str]:
    layers = {len(panel.grid.trunk) for panel in found}
    if (report.model.num_hidden_layers or 0) > max(layers):
        how = f"mtpfix inspect {inert(report.target.name)} --format html"
        yield (
            "<p>Modules of the trunk (the target model without its MTP block) are left out unless "
            f"they have a problem; {code(how)} shows all of them.</p>\n"
        )


def _findings(report: Report) -> Iterator[str]:
    if report.findings:
        yield "<h2>Findings</h2>\n"
    for each in report.findings:
        yield from finding(each, report)
    yield from not_counted(report)


def not_counted(report: Report) -> Iterator[str]:
    """Findings that are accepted, each with the reason."""
    if report.accepted:
        yield "<h2>Not counted</h2>\n"
    for accepted in report.accepted:
        yield from finding(accepted.finding, report, accepted.acceptance)


def finding(found: Finding, report: Report, why: Acceptance | None = None) -> Iterator[str]:
    """Yield one finding with its place, its reach and its fix; `why` it does not count, if so."""
    sign = wording.severity(found)
    if why is not None:
        sign = Sign("\N{EN DASH}", wording.accepted(why), "quiet")
    yield f'<article class="finding {sign.mood}">\n'
    yield f"<h3>{signed(sign, f'{text(found.code)} {sign.word}')}</h3>\n"
    yield f"<p>{prose(found.message)}</p>\n"
    facts = [] if why is None else [("because", prose(wording.because(why)))]
    if found.where is not None:
        place = rows.where(found.where.file, found.where.line)
        facts.append(("where", f"{escape(place)} {code(found.where.pointer)}"))
    reach = wording.release_range(found, report.engines)
    if reach is not None:
        facts.append((wording.heading(report.engines), text(reach)))
    if found.confidence != "run":
        facts.append(("evidence", wording.GRADES[found.confidence]))
    if found.fix is not None:
        facts.append(("fix", f"{prose(found.fix.title)} ({prose(wording.how_to(found.fix))})"))
    if facts:
        yield from described(facts)
    yield "</article>\n"
