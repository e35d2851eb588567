"""JUnit XML: each release on each platform is a test case, and so is the target as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from mtpfix.findings import is_unjudged
from mtpfix.model import FAILED, Accepted, EngineReport, Finding, Report
from mtpfix.report import rows, wording
from mtpfix.report.inert_text import PROSE_LIMIT, inert


def render(*reports: Report) -> str:
    """One test suite for each report."""
    root = ET.Element("testsuites", name="mtpfix")
    for report in reports:
        root.append(_suite(report))
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ET.indent(root)
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _suite(report: Report) -> ET.Element:
    name = inert(report.target.name)
    if report.draft is not None:
        name = f"{name} with the draft of {inert(report.draft.name)}"
    suite = ET.Element("testsuite", name=name)
    grave = _grave(report)
    suite.append(_whole(report, name, grave))
    for engine in report.engines:
        suite.append(_case(engine, report, name, grave))
    count = {
        kind: len(suite.findall(f"testcase/{kind}")) for kind in ("failure", "error", "skipped")
    }
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(count["failure"]))
    suite.set("errors", str(count["error"]))
    suite.set("skipped", str(count["skipped"]))
    return suite


def _grave(report: Report) -> list[Finding]:
    """The findings that fail a case: none if the gate lets the target pass."""
    if report.exit_code != 1:
        return []
    judged = [f for f in report.findings if f.decides and not is_unjudged(f)]
    errors = [finding for finding in judged if finding.severity == "error"]
    return errors or [finding for finding in judged if finding.severity == "warning"]


def _whole(report: Report, suite: str, grave: list[Finding]) -> ET.Element:
    """The case of what depends on no release, and of what could not be judged at all."""
    case = ET.Element("testcase", classname=suite, name="metadata")
    own = [finding for finding in report.findings if not finding.releases]
    unjudged = list(filter(is_unjudged, report.findings))
    failing = [finding for finding in own if finding in grave]
    accepted = [each for each in report.accepted if not each.finding.releases]
    if failing:
        _put(case, "failure", failing)
    elif unjudged and report.exit_code:
        _put(case, "error", unjudged)
    elif _excused(accepted):
        _skip(case, accepted)
    elif not report.engines:
        ET.SubElement(case, "skipped", message=wording.sentence(report))
    rest = [f for f in own if f not in failing and f not in unjudged]
    _put_rest(case, rest, accepted)
    return case


def _case(engine: EngineReport, report: Report, suite: str, grave: list[Finding]) -> ET.Element:
    name = f"{wording.engine(engine.engine)} {inert(engine.version)} on {inert(engine.platform)}"
    case = ET.Element("testcase", classname=suite, name=name)
    here = [finding for finding in report.findings if holds(finding, engine, report.engines)]
    failing = [finding for finding in here if finding in grave]
    accepted = [a for a in report.accepted if holds(a.finding, engine, report.engines)]
    if failing:
        _put(case, "failure", failing)
    elif _excused(accepted) and engine.outcome != "unknown":
        _skip(case, accepted)
    elif engine.outcome in FAILED and report.exit_code == 1 and engine.decides:
        said = f"{wording.OUTCOMES[engine.outcome].word}: {wording.outcome(engine)}"
        ET.SubElement(case, "failure", message=said, type=engine.outcome)
    elif engine.outcome == "unknown" and engine.decides:
        ET.SubElement(case, "error", message=wording.outcome(engine), type="unknown")
    elif engine.outcome == "no_mtp" or not engine.decides:
        ET.SubElement(case, "skipped", message=wording.outcome(engine))
    _put_rest(case, [finding for finding in here if finding not in failing], accepted)
    return case


def holds(finding: Finding, engine: EngineReport, judged: Sequence[EngineReport]) -> bool:
    """Whether a finding names a release on its platform, of all that were judged."""
    place = (engine.version, engine.platform)
    found = wording.labels_of(finding, engine.engine, judged)
    return any(label in (place, (engine.version, "")) for label in found)


def _put(case: ET.Element, kind: str, findings: list[Finding]) -> None:
    """A failure or an error: its kind is the code, its text all findings."""
    codes = ", ".join(dict.fromkeys(inert(finding.code) for finding in findings))
    message = inert(findings[0].message, PROSE_LIMIT)
    ET.SubElement(case, kind, type=codes, message=message).text = _lines(findings)


def _excused(accepted: list[Accepted]) -> bool:
    """Whether a case would fail, if its findings counted."""
    return any(each.finding.severity == "error" for each in accepted)


def _skip(case: ET.Element, accepted: list[Accepted]) -> None:
    ET.SubElement(case, "skipped", message="; ".join(dict.fromkeys(map(_reason, accepted))))


def _reason(accepted: Accepted) -> str:
    why = accepted.acceptance
    return f"{inert(accepted.finding.code)} {wording.accepted(why)}: {wording.because(why)}"


def _put_rest(case: ET.Element, findings: list[Finding], accepted: list[Accepted]) -> None:
    """What fails nothing is said all the same."""
    told = list(map(_line, findings))
    told += [f"{_line(each.finding)}\n  {_reason(each)}" for each in accepted]
    if told:
        ET.SubElement(case, "system-out").text = "\n".join(told)


def _lines(findings: list[Finding]) -> str:
    return "\n".join(map(_line, findings))


def _line(finding: Finding) -> str:
    place = finding.where
    at = f"{rows.where(place.file, place.line)}: " if place is not None else ""
    said = f"{inert(finding.code)} {finding.severity}  {at}{inert(finding.message, PROSE_LIMIT)}"
    if finding.fix is None:
        return said
    return f"{said}\n  fix: {inert(finding.fix.title, PROSE_LIMIT)} ({wording.how_to(finding.fix)})"
