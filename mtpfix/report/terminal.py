"""What `render` of `text` shows, from the head to the verdict; built on rich."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mtpfix.model import EngineReport, Finding, Json, Outcome, Report
from mtpfix.report import rows, side_by_side, wording
from mtpfix.report.inert_text import PROSE_LIMIT, inert
from mtpfix.report.page import Page, mooded, together
from mtpfix.report.table import put_table


def rendered(report: Report, width: int | None, *, color: bool, verbose: bool) -> str:
    """The whole report as lines; see `text.render`."""
    page = Page(width, color=color)
    _put_head(page, report)
    _put_engines(page, report, verbose=verbose)
    _put_findings(page, report, verbose=verbose)
    _put_accepted(page, report, verbose=verbose)
    _put_notes(page, report)
    _put_last(page, report)
    return page.text()


# --- head --------------------------------------------------------------------


def _put_head(page: Page, report: Report) -> None:
    revision = report.target.revision
    at = f" @ {inert(revision, 40)}" if revision else ""
    page.line(together(mooded(inert(report.target.name), "strong"), mooded(at, "quiet")))
    for label, text in wording.facts(report):
        page.item(mooded(f"{label:<14}", "quiet"), mooded(text), 2)


# --- engines -----------------------------------------------------------------


class _Group(NamedTuple):
    """What is the same for all releases and platforms that are shown together."""

    engine: str
    outcome: Outcome
    behind: str
    draft: tuple[rows.Section, ...]
    trunk: tuple[rows.Section, ...]


def _put_engines(page: Page, report: Report, *, verbose: bool) -> None:
    shown: dict[tuple[rows.Section, ...], str] = {}
    groups = _groups(report, verbose=verbose)
    beside = [members[0] for members in groups.values()]
    comparable = side_by_side.is_possible(beside)
    for group, members in groups.items():
        sign = wording.OUTCOMES[group.outcome]
        name = wording.with_engine(members, report.engines)
        page.line()
        page.item(mooded(f"{sign.sign} ", sign.mood), mooded(f"{name}: {sign.word}", "strong"))
        page.item(mooded("  "), mooded(group.behind))
        for part, sections in (("draft", group.draft), ("trunk", group.trunk)):
            if not sections or (comparable and part == "draft" and not verbose):
                continue
            if sections in shown:
                page.line(mooded(f"  {part} modules as for {shown[sections]}", "quiet"))
                continue
            shown[sections] = name
            page.line()
            put_table(page, part, sections, wording.engine(group.engine), verbose=verbose)
    if comparable:
        page.line()
        side_by_side.put(page, beside)


def _groups(report: Report, *, verbose: bool) -> dict[_Group, list[EngineReport]]:
    lines = rows.lines_of(report)
    groups: dict[_Group, list[EngineReport]] = {}
    for engine in wording.in_order(report.engines):
        draft = rows.sections(engine.modules, "draft", lines, verbose=verbose)
        trunk = rows.sections(engine.modules, "trunk", lines, verbose=verbose)
        group = _Group(engine.engine, engine.outcome, wording.outcome(engine), draft, trunk)
        groups.setdefault(group, []).append(engine)
    return groups


# --- findings and the rest ---------------------------------------------------


def _put_findings(page: Page, report: Report, *, verbose: bool) -> None:
    for finding in report.findings:
        sign = wording.severity(finding)
        head = mooded(f"{inert(finding.code)} {sign.word}  ", sign.mood)
        page.line()
        body = together(head, mooded(inert(finding.message, PROSE_LIMIT)))
        page.item(mooded(f"{sign.sign} ", sign.mood), body)
        for label, text in _about(finding, report.engines, verbose=verbose):
            page.item(mooded(f"{label:<10}", "quiet"), mooded(text), 2)


def _put_accepted(page: Page, report: Report, *, verbose: bool) -> None:
    """Findings that do not count, each with the reason."""
    for finding, why in ((each.finding, each.acceptance) for each in report.accepted):
        head = mooded(f"{inert(finding.code)} {wording.accepted(why)}  ", "quiet")
        page.line()
        body = together(head, mooded(inert(finding.message, PROSE_LIMIT)))
        page.item(mooded("\N{EN DASH} ", "quiet"), body)
        about = [("because", wording.because(why))]
        for label, text in (*about, *_about(finding, report.engines, verbose=verbose)):
            page.item(mooded(f"{label:<10}", "quiet"), mooded(text), 2)


def _about(
    finding: Finding, engines: Sequence[EngineReport], *, verbose: bool
) -> Iterator[tuple[str, str]]:
    """Labels and texts under the message of a finding."""
    place = finding.where
    if place is not None:
        known = place.line is not None and not verbose
        pointer = "" if known or not place.pointer else f"  {inert(place.pointer)}"
        yield "where", f"{rows.where(place.file, place.line)}{pointer}"
    reach = wording.release_range(finding, engines)
    if reach is not None:
        yield wording.heading(engines), reach
    if finding.confidence != "run":
        yield "evidence", wording.GRADES[finding.confidence]
    if finding.fix is not None:
        yield "fix", f"{inert(finding.fix.title, PROSE_LIMIT)} ({wording.how_to(finding.fix)})"
    if verbose:
        yield from _evidence(finding)


def _evidence(finding: Finding) -> Iterator[tuple[str, str]]:
    """Modules and edits of a finding, for a reader who asked for everything."""
    if finding.modules:
        yield "modules", ", ".join(inert(name) or '""' for name in finding.modules)
    for edit in finding.fix.edits if finding.fix is not None else ():
        value = "" if edit.op == "remove" else f"  {inert(_json(edit.value), PROSE_LIMIT)}"
        yield "edit", f"{edit.op} {inert(edit.file)}#{inert(edit.pointer)}{value}"


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)


def _put_notes(page: Page, report: Report) -> None:
    if report.notes:
        page.line()
    for note in report.notes:
        page.item(mooded("note  ", "quiet"), mooded(inert(note, PROSE_LIMIT)))


def _put_last(page: Page, report: Report) -> None:
    sign = wording.overall(report)
    found = f": {wording.tally(report.findings)}" if report.findings else ""
    said = wording.sentence(report)
    page.line()
    body = mooded(f"{said[:1].upper()}{said[1:]}{found}.", "strong")
    page.item(mooded(f"{sign.sign} ", sign.mood), body)
    follows = wording.next_command(report)
    if follows is not None:
        command, purpose = follows
        line = together(mooded("  Next: "), mooded(command, "strong"))
        remark = f"  # {purpose}"
        if len(line) + len(remark) <= page.width:
            line.append_text(mooded(remark, "quiet"))
        page.line(line)
