"""SARIF 2.1.0, which code scanning services read: one run for each target."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mtpfix import __version__, facts
from mtpfix.acceptance import identity
from mtpfix.findings import is_unjudged, kinds
from mtpfix.model import Acceptance, Finding, Report, Severity
from mtpfix.report import file_paths, wording
from mtpfix.report.inert_text import PROSE_LIMIT, inert, inert_json

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)

_BASE = "TARGET"
"""Symbolic root of the files of a Hub repo."""

_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}

_TAGS = {
    "MTP0": "presence",
    "MTP1": "naming",
    "MTP2": "precision",
    "MTP3": "limits",
    "MTP4": "files",
    "MTP5": "values",
    "MTP9": "unjudged",
}
"""Beginning of a code -> what such findings are about."""

_MODULES = 100
"""Modules of a finding that are listed: readers refuse documents that are too large."""

_View = dict[str, Any]


def render(*reports: Report) -> str:
    """The findings of all reports as one SARIF document."""
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(report) for report in reports]}
    document = json.dumps(log, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{inert_json(document)}\n"


def _run(report: Report) -> _View:
    found = sorted({finding.code for finding, _ in report.all_findings})
    prints = identity.fingerprints(finding for finding, _ in report.all_findings)
    run: _View = {
        "tool": {"driver": _driver(found)},
        "automationDetails": {"id": f"mtpfix/{inert(report.target.name)}/"},
        "invocations": [_invocation(report)],
        "results": [
            {
                **_result(finding, report, found),
                "partialFingerprints": {"mtpfix/v2": own},
                **_suppressed(why),
            }
            for (finding, why), own in zip(report.all_findings, prints, strict=True)
        ],
    }
    if report.target.kind == "hub":
        run["originalUriBaseIds"] = {_BASE: {"uri": file_paths.base(report.target)}}
    return run


def _driver(found: Sequence[str]) -> _View:
    brought = facts.brought()
    return {
        "name": "mtpfix",
        "version": __version__,
        "semanticVersion": __version__,
        **({} if brought is None else {"properties": {"facts": brought.digest}}),
        "rules": [_rule(code) for code in found],
    }


def _rule(code: str) -> _View:
    kind = kinds().get(code)
    if kind is None:
        return {"id": inert(code)}
    return {
        "id": code,
        "shortDescription": {"text": kind.title},
        "fullDescription": {"text": kind.meaning},
        "help": {"text": kind.remedy},
        "helpUri": kind.url,
        "defaultConfiguration": {"level": _LEVELS[kind.severity]},
        "properties": {"tags": ["mtp", "quantization", _TAGS[code[:4]]]},
    }


def _invocation(report: Report) -> _View:
    """Whether the target could be judged, and on which releases."""
    judged = not any(is_unjudged(finding) for finding, _ in report.all_findings)
    return {
        "executionSuccessful": judged,
        "exitCode": report.exit_code,
        "exitCodeDescription": inert(wording.sentence(report), PROSE_LIMIT),
        "toolExecutionNotifications": [
            {"level": "note", "message": {"text": inert(note, PROSE_LIMIT)}}
            for note in report.notes
        ],
    }


def _result(finding: Finding, report: Report, found: Sequence[str]) -> _View:
    return {
        "ruleId": finding.code,
        "ruleIndex": found.index(finding.code),
        "level": _LEVELS[finding.severity],
        "message": {"text": _said(finding, report)},
        "locations": [_location(finding, report)],
        "properties": {
            "confidence": finding.confidence,
            "releases": list(finding.releases),
            "pointer": None if finding.where is None else finding.where.pointer,
        },
    }


def _suppressed(why: Acceptance | None) -> _View:
    """Say that a result does not count, and why; GitHub and others close it then."""
    if why is None:
        return {}
    said = {"kind": "external", "status": "accepted", "justification": wording.because(why)}
    return {"suppressions": [said]}


def _said(finding: Finding, report: Report) -> str:
    """Message, releases and remedy; `[text](target)` would be read as a link."""
    said = inert(finding.message, PROSE_LIMIT)
    reach = wording.reach(finding, report.engines)
    if reach is not None:
        said += f" ({reach})"
    if finding.fix is not None:
        said += f"\nFix: {inert(finding.fix.title, PROSE_LIMIT)} ({wording.how_to(finding.fix)})"
    return said.replace("](", "] (")


def _location(finding: Finding, report: Report) -> _View:
    """The line in the file, and the modules by the engine's names."""
    file = file_paths.file_of(finding, report)
    near = file_paths.path(report.target, file)
    artifact = {"uri": file_paths.uri(file if near is None else near)}
    if near is None:
        artifact["uriBaseId"] = _BASE
    line = finding.where.line if finding.where is not None else None
    place: _View = {"artifactLocation": artifact, "region": {"startLine": line or 1}}
    location: _View = {"physicalLocation": place}
    if finding.modules:
        location["logicalLocations"] = [
            {"fullyQualifiedName": name, "kind": "module"}
            for name in dict.fromkeys(finding.modules[:_MODULES])
        ]
    return location
