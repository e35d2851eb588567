"""GitLab Code Quality: what a merge request shows beside its diff."""

from __future__ import annotations

import json
from typing import Any

from mtpfix.acceptance import identity
from mtpfix.findings import is_unjudged
from mtpfix.model import Acceptance, Finding, Report, Severity
from mtpfix.report import file_paths, wording
from mtpfix.report.inert_text import PROSE_LIMIT, inert, inert_json

_SEVERITIES: dict[Severity, str] = {"error": "critical", "warning": "minor", "info": "info"}
_UNJUDGED = "major"


def render(*reports: Report) -> str:
    """One list of all findings; those that do not count are information, with the reason."""
    rows = [row for report in reports for row in _rows(report)]
    return f"{inert_json(json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False))}\n"


def _rows(report: Report) -> list[dict[str, Any]]:
    found = (finding for finding, _ in report.all_findings)
    prints = identity.fingerprints(found, identity.repo(report.target))
    return [
        {
            "description": _said(finding, why, report),
            "check_name": inert(finding.code),
            "fingerprint": own,
            "severity": _severity(finding, why),
            "location": _location(finding, report),
        }
        for (finding, why), own in zip(report.all_findings, prints, strict=True)
    ]


def _severity(finding: Finding, why: Acceptance | None) -> str:
    if why is not None or not finding.decides:
        return "info"
    return _UNJUDGED if is_unjudged(finding) else _SEVERITIES[finding.severity]


def _said(finding: Finding, why: Acceptance | None, report: Report) -> str:
    """Message, draft from elsewhere, releases, and the reason or the remedy, in one line."""
    said = inert(finding.message, PROSE_LIMIT)
    if report.draft is not None:
        said += f" (with the draft of {inert(report.draft.name)})"
    if finding.releases:
        reach = wording.reach(finding, report.engines)
        said += f" [{reach or wording.with_engine(report.engines, report.engines)}]"
    if why is not None:
        return f"{wording.accepted(why).capitalize()}, {wording.because(why)}: {said}"
    if finding.fix is not None:
        said += f" Fix: {inert(finding.fix.title, PROSE_LIMIT)} ({wording.how_to(finding.fix)})"
    return said


def _location(finding: Finding, report: Report) -> dict[str, Any]:
    """The file as seen from where the command ran; that of a Hub repo below its name."""
    file = file_paths.file_of(finding, report)
    path = file_paths.path(report.target, file) or f"{report.target.name}/{file}"
    line = finding.where.line if finding.where is not None else None
    return {"path": path, "lines": {"begin": line or 1}}
