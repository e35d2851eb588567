"""Workflow commands of GitHub Actions: findings as annotations in the diff.

The runner reads commands out of the log, so foreign text must neither end a
property nor begin a line: it is made inert, then escaped as the runner's own
toolkit escapes it.
"""

from __future__ import annotations

from mtpfix.findings import kind
from mtpfix.model import Accepted, Finding, Report, Severity
from mtpfix.report import file_paths, wording
from mtpfix.report.inert_text import PROSE_LIMIT, inert

_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "notice"}

_DATA = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A", ":": "%3A", ",": "%2C"})


def render(*reports: Report) -> str:
    """One annotation for each finding, and one line with the verdict of each report."""
    return "".join(f"{line}\n" for report in reports for line in _lines(report))


def _lines(report: Report) -> list[str]:
    lines = [_annotation(finding, report) for finding in report.findings]
    lines += [_accepted(each, report) for each in report.accepted]
    lines += [_command("notice", {"title": "mtpfix"}, note) for note in report.notes]
    return [*lines, _verdict(report)]


def _annotation(finding: Finding, report: Report) -> str:
    """A finding, at its line where the file lies in the workspace."""
    properties = _place(finding, report, finding.code)
    return _command(_LEVELS[finding.severity], properties, _said(finding, report))


def _accepted(accepted: Accepted, report: Report) -> str:
    """A finding that does not count: a notice with the reason."""
    finding, why = accepted.finding, accepted.acceptance
    word = wording.accepted(why)
    properties = _place(finding, report, f"{finding.code} {word}")
    said = f"{word}: {wording.because(why)}\n{_said(finding, report)}"
    return _command("notice", properties, said)


def _place(finding: Finding, report: Report, head: str) -> dict[str, str]:
    """Where a finding is, and what stands over it."""
    file = file_paths.path(report.target, file_paths.file_of(finding, report))
    title = kind(finding).title
    properties = {"title": f"{head}: {title}" if title else head}
    if file is not None:
        line = finding.where.line if finding.where is not None else None
        properties = {"file": file, "line": str(line or 1), **properties}
    return properties


def _said(finding: Finding, report: Report) -> str:
    """Message, releases and remedy, one line each."""
    place = finding.where
    lines = [finding.message]
    if report.target.kind == "hub" and place is not None:
        lines[0] = f"{report.target.name}: {place.file}:{place.line or 1}: {finding.message}"
    reach = wording.reach(finding, report.engines)
    if reach is not None:
        lines.append(reach)
    if finding.fix is not None:
        lines.append(f"fix: {finding.fix.title} ({wording.how_to(finding.fix)})")
    return "\n".join(inert(line, PROSE_LIMIT) for line in lines)


def _command(level: str, properties: dict[str, str], message: str) -> str:
    shown = ",".join(
        f"{k}={inert(v, PROSE_LIMIT).translate(_PROPERTY)}" for k, v in properties.items()
    )
    lines = "\n".join(inert(line, PROSE_LIMIT) for line in message.split("\n"))
    return f"::{level} {shown}::{lines.translate(_DATA)}"


def _verdict(report: Report) -> str:
    """A line of the log; the sign before it keeps a name from beginning a command."""
    sign = wording.overall(report)
    said = f"{sign.sign} {inert(report.target.name)}: {wording.sentence(report)}"
    # The older form of a command is read anywhere in a line.
    return said.replace("##[", r"#\x23[")
