"""What several engines make of one target, as one report: what all of them say is said once. Pure.

Releases are labelled with their engine then, since versions alone do not tell whose they are. An
engine that nobody asked for by name decides nothing, and what it does not know it is silent about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from mtpfix import rules
from mtpfix.engines import registry
from mtpfix.engines.base import Engine
from mtpfix.errors import UnknownError
from mtpfix.findings import is_unjudged
from mtpfix.model import FAILED, GRADES, EngineReport, Finding, Outcome, Report
from mtpfix.selection import Selection, asking

_ANY = "the engine"
"""Stands for the engine in what several say: whose releases they are tells which."""


def merge(parts: Mapping[Engine, Report], selection: Selection) -> Report:
    """Return the reports of several engines on one target as one.

    Args:
        parts: the report of each.
        selection: which of them were asked for.
    """
    kept = {e: report for e, report in parts.items() if report.engines or selection.requires(e)}
    kept = kept or dict(list(parts.items())[:1])
    marked = {e: _marked(report, decides=selection.requires(e)) for e, report in kept.items()}
    said = [*_silent(parts, kept)]
    if len(marked) == 1:
        (report,) = marked.values()
        return replace(report, notes=(*report.notes, *said)) if said else report
    first = next((report for report in marked.values() if report.engines), None)
    findings = tuple(sorted(_findings(marked), key=rules.gravity))
    engines = tuple(each for report in marked.values() for each in report.engines)
    return replace(
        first or next(iter(marked.values())),
        engines=engines,
        findings=findings,
        exit_code=exit_code(findings, engines),
        lines={at: line for report in marked.values() for at, line in report.lines.items()},
        notes=(*_notes(marked), *said),
    )


_VERDICTS: Mapping[Outcome, str] = {
    "clean": "the draft is clean",
    "load_error": "the draft fails to load",
    "silent_garbage": "the draft loads as silent garbage",
    "unknown": "it could not be judged",
}


def tell_beside(report: Report, others: Iterable[EngineReport]) -> Report:
    """Return a report with one note on each verdict that does not count.

    Args:
        report: on what decides.
        others: the verdicts of engines that nobody asked for by name.
    """
    return replace(report, notes=(*report.notes, *_on_others(others)))


def _on_others(others: Iterable[EngineReport]) -> Iterator[str]:
    for each in others:
        if each.outcome not in _VERDICTS:
            continue
        where = f"{registry.engine(each.engine).title} {each.version} ({each.platform})"
        said = f"{where} does not count here: {_VERDICTS[each.outcome]}"
        more = f"; `mtpfix check {asking(each.engine, each.version)}` says why"
        yield said if each.outcome == "clean" else said + more


def _marked(report: Report, *, decides: bool) -> Report:
    """Return a report whose verdict and findings count, or do not."""
    if decides:
        return report
    engines = tuple(replace(each, decides=False) for each in report.engines)
    findings = tuple(replace(each, decides=False) for each in report.findings)
    return replace(report, engines=engines, findings=findings)


def _silent(parts: Mapping[Engine, Report], kept: Mapping[Engine, Report]) -> Iterator[str]:
    """Yield why an engine that knows the family says nothing, though nobody asked it by name."""
    for engine, report in parts.items():
        reason = next(filter(is_unjudged, report.findings), None)
        if engine not in kept and report.model.family is not None and reason is not None:
            yield f"{engine.title} is not judged: {reason.message}"


def _findings(parts: Mapping[Engine, Report]) -> Iterator[Finding]:
    """Yield each finding once, with the releases of all engines that share it."""
    found: dict[Finding, list[tuple[Engine, Finding]]] = {}
    for engine, report in parts.items():
        for finding in report.findings:
            found.setdefault(_shared(finding, engine), []).append((engine, finding))
    several = sum(bool(report.engines) for report in parts.values()) > 1
    for shared, group in found.items():
        engine, own = group[0]
        if len(group) == 1 and not own.releases and not parts[engine].engines:
            own = replace(own, message=f"{engine.title}: {own.message}")
        labels = (_labels(one, each, several=several) for each, one in group)
        yield replace(
            own,
            message=own.message if len(group) == 1 else shared.message,
            remedy=own.remedy if len(group) == 1 else shared.remedy,
            releases=tuple(label for some in labels for label in some),
            confidence=max((one.confidence for _, one in group), key=GRADES.index),
            decides=any(one.decides for _, one in group),
        )


def _labels(finding: Finding, engine: Engine, *, several: bool) -> Iterable[str]:
    if not several:
        return finding.releases
    return (f"{engine.title} {label}" for label in finding.releases)


def _shared(finding: Finding, engine: Engine) -> Finding:
    """Return what a finding says of no engine in particular."""
    return replace(
        finding,
        message=_neutral(finding.message, engine),
        remedy=None if finding.remedy is None else _neutral(finding.remedy, engine),
        releases=(),
        confidence="run",
        decides=True,
    )


def _notes(parts: Mapping[Engine, Report]) -> Iterator[str]:
    """Yield each note once."""
    found: dict[str, list[str]] = {}
    for engine, report in parts.items():
        for note in report.notes:
            found.setdefault(_neutral(note, engine), []).append(note)
    yield from (notes[0] if len(notes) == 1 else shared for shared, notes in found.items())


def _neutral(text: str, engine: Engine) -> str:
    """Return a text that names no engine; `vLLM 0.30` stays, for only one has that release."""
    return re.sub(rf"\b{re.escape(engine.title)}\b(?! \d)", _ANY, text)


def exit_code(findings: Sequence[Finding], engines: Sequence[EngineReport]) -> int:
    """Return 0 if clean, 1 if something is wrong, 3 if something could not be judged.

    A load that fails is wrong even where no finding says why; a release that is newer than
    all that is known is not judged for good. What decides nothing does not count.
    """
    outcomes = {engine.outcome for engine in engines if engine.decides}
    deciding = [finding for finding in findings if finding.decides]
    judged = (finding for finding in deciding if not is_unjudged(finding))
    if rules.worst(judged) == "error" or not outcomes.isdisjoint(FAILED):
        return 1
    if any(map(is_unjudged, deciding)) or "unknown" in outcomes:
        return UnknownError.exit_code
    return 0
