"""The report as Markdown: the summary of a CI job, or a comment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mtpfix.model import EngineReport, Finding, Report
from mtpfix.report import ranges, rows, wording
from mtpfix.report.markdown_text import code, details, prose, table

__all__ = ["render", "table"]

_FINDINGS = 50
_ROWS = 100
"""Rows of a table: forges cut what is too long, in the middle of a line."""


def render(*reports: Report) -> str:
    """One section for each report."""
    return "\n".join(f"{line}\n" for report in reports for line in ["\n".join(_lines(report))])


def _lines(report: Report) -> Iterator[str]:
    sign = wording.overall(report)
    yield f"### {sign.sign} {code(report.target.name)}"
    yield ""
    found = f": {wording.tally(report.findings)}" if report.findings else ""
    said = wording.sentence(report)
    yield f"**{prose(f'{said[:1].upper()}{said[1:]}{found}.')}**"
    for note in report.notes:
        yield ""
        yield f"Note: {prose(note)}"
    yield from _block(_engines(report))
    yield from _block(_findings(report))
    yield from _block(not_counted(report))
    for name in dict.fromkeys(engine.engine for engine in report.engines):
        yield from _block(_modules(report, name))
    following = wording.next_command(report)
    if following is not None:
        yield ""
        yield f"Next: {code(following[0])} {following[1]}."


def _block(lines: Iterable[str]) -> Iterator[str]:
    """Lines with an empty one before them, if there are any."""
    for number, line in enumerate(lines):
        if number == 0:
            yield ""
        yield line


# --- releases ----------------------------------------------------------------


def _engines(report: Report) -> list[str]:
    """What comes of it, releases that share it together."""
    groups: dict[tuple[str, str, str], list[EngineReport]] = {}
    for engine in wording.in_order(report.engines):
        key = (engine.engine, outcome(engine), wording.outcome(engine))
        groups.setdefault(key, []).append(engine)
    cells = [
        (prose(wording.release_ranges(members, report.engines)), said, prose(behind))
        for (_, said, behind), members in groups.items()
    ]
    head = wording.heading(report.engines)
    return table((head, "outcome", "what happens"), cells) if cells else []


def outcome(engine: EngineReport) -> str:
    """The outcome of a release as sign and word."""
    sign = wording.OUTCOMES[engine.outcome]
    return f"{sign.sign} {sign.word}"


# --- findings ----------------------------------------------------------------


def _findings(report: Report) -> list[str]:
    if not report.findings:
        return []
    shown = report.findings[:_FINDINGS]
    heads = ("finding", "where", "what", wording.heading(report.engines))
    lines = table(heads, [_finding(found, report) for found in shown])
    if len(report.findings) > len(shown):
        lines += ["", f"… and {wording.count(len(report.findings) - len(shown), 'finding')} more."]
    return lines


def not_counted(report: Report) -> list[str]:
    """Findings that do not count, folded away, each with the reason."""
    if not report.accepted:
        return []
    cells = []
    for finding, why in ((each.finding, each.acceptance) for each in report.accepted[:_FINDINGS]):
        head = f"{prose(finding.code)} {wording.accepted(why)}"
        cells.append((head, _where(finding), prose(finding.message), prose(wording.because(why))))
    lines = table(("finding", "where", "what", "why it does not count"), cells)
    if len(report.accepted) > len(cells):
        more = len(report.accepted) - len(cells)
        lines += ["", f"… and {wording.count(more, 'finding')} more."]
    return details(f"Not counted: {wording.count(len(report.accepted), 'finding')}", lines)


def _where(finding: Finding) -> str:
    place = finding.where
    return code(rows.where(place.file, place.line)) if place is not None else ""


def _finding(finding: Finding, report: Report) -> tuple[str, str, str, str]:
    sign = wording.severity(finding)
    said = prose(finding.message)
    if finding.fix is not None:
        said += f"<br>Fix: {prose(finding.fix.title)} ({prose(wording.how_to(finding.fix))})"
    head = f"{sign.sign} {prose(finding.code)} {sign.word}"
    return head, _where(finding), said, wording.release_range(finding, report.engines) or ""


# --- modules -----------------------------------------------------------------


def _modules(report: Report, name: str) -> list[str]:
    """The draft on the newest release of an engine, folded away."""
    own = [engine for engine in report.engines if engine.engine == name]
    newest = max(own, key=lambda e: ranges.age(e.version))
    sections = rows.sections(newest.modules, "draft", rows.lines_of(report))
    cells = [_row(row, section) for section in sections for row in section.rows]
    if not cells:
        return []
    builds = f"{wording.engine(newest.engine)} builds"
    heads = ("module", "on disk", builds, "decided by", "verdict")
    lines = table(heads, cells[:_ROWS])
    if len(cells) > _ROWS:
        lines += ["", f"… and {wording.count(len(cells) - _ROWS, 'row')} more."]
    place = f"{wording.engine(newest.engine)} {newest.version} on {newest.platform}"
    return details(f"Draft modules, {place}", lines)


def _row(row: rows.Row, section: rows.Section) -> tuple[str, ...]:
    name = f"{section.heading.removesuffix('*')}{row.name}" if section.heading else row.name
    if isinstance(row.decider, str):
        decided = row.decider
    else:
        decided = f"{code(row.decider.spelling)} {prose(row.decider.place)}"
    verdict = f"{row.verdict.sign} {row.verdict.word}"
    return code(name), prose(row.stored[0]), prose(row.built[0]), decided, verdict
