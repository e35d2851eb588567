"""MTP2xx: the disk and what the engine builds are of different precision."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from mtpfix.checkpoint.packing import CHANNEL
from mtpfix.model import Entry, Finding, ModuleReport, State
from mtpfix.rules.evidence import Evidence, Rule, counted_subject, exception, grade_of, names, some


def _by_entry(
    reports: Iterable[ModuleReport],
) -> Iterator[tuple[Entry | None, list[ModuleReport]]]:
    """Reports that share the entry that decided; one place in the file is one entry."""
    groups: dict[str | None, list[ModuleReport]] = {}
    for report in reports:
        entry = report.decision.because
        groups.setdefault(None if entry is None else entry.pointer, []).append(report)
    return ((group[0].decision.because, group) for group in groups.values())


def _differing(evidence: Evidence, built: str, state: State) -> list[ModuleReport]:
    return [
        r
        for r in evidence.draft
        if r.agrees is False
        and r.limit is None
        and r.decision.built == built
        and r.disk.state is state
    ]


def built_quantized(evidence: Evidence) -> Iterator[Finding]:
    """MTP201: unquantized on disk, built quantized."""
    for entry, reports in _by_entry(_differing(evidence, "quantized", State.UNQUANTIZED)):
        target = f"target `{entry.spelling}`" if entry is not None else "a target"
        they_are, them = counted_subject(len(reports), "MTP module")
        yield Finding(
            code="MTP201",
            severity="error",
            confidence=grade_of(reports),
            message=f"{they_are} unquantized on disk, but {target} matches {them} and no ignore "
            f"entry excludes {them}: {some(names(reports))}. "
            f"{_outcome(evidence, reports)}",
            modules=names(reports),
            where=evidence.where(entry),
        )


def _outcome(evidence: Evidence, reports: list[ModuleReport]) -> str:
    """What the difference comes to, in a sentence; an engine dies on the first that it meets."""
    if any(r.consequence == "load_error" for r in reports):
        return "Loading the draft fails."
    if evidence.report.outcome == "load_error":
        return "Their weights are cast without a scale, and their scales stay uninitialised."
    return (
        "The load succeeds: weights are cast without a scale, scales stay uninitialised, and every "
        "draft token is rejected."
    )


def built_unquantized(evidence: Evidence) -> Iterator[Finding]:
    """MTP202: quantized on disk, built unquantized."""
    read, engine = evidence.case.engine.header_list(evidence.view), evidence.engine
    for entry, reports in _by_entry(_differing(evidence, "unquantized", State.QUANTIZED)):
        they_are, them = counted_subject(len(reports), "MTP module")
        cause = _cause(entry, them) if evidence.has_metadata else _without_metadata(engine, them)
        remedy = None if evidence.has_metadata else _RESTORE
        if entry is None and read is not None and read.lists == "quantized":
            cause = (
                f"{engine} takes its list from the tensor headers, which give {them} other names"
            )
            remedy = _list_of_parts(evidence, read.key)
        yield Finding(
            code="MTP202",
            severity="error",
            confidence=grade_of(reports),
            message=f"{they_are} quantized on disk, but {cause}: "
            f"{some(names(reports))}. {_outcome(evidence, reports)}",
            modules=names(reports),
            where=evidence.where(entry)
            if evidence.has_metadata
            else evidence.at("config.json", ""),
            remedy=remedy,
        )


_LONGEST_LIST = 100
"""Parts of names that a remedy writes out: more are a list that somebody has to make."""
_RESTORE = "restore the metadata that the quantizer wrote"


def _without_metadata(engine: str, them: str) -> str:
    return f"config.json has no quantization_config: {engine} builds {them} unquantized"


def _list_of_parts(evidence: Evidence, key: str) -> str:
    """What to write into the list under `key`: parts of names that disk and engine share."""
    parents = evidence.case.inventory.parents
    behind = re.compile(r"^(?:[^.\d][^.]*\.)*\d+\.")
    tails = {
        behind.sub("", name): None
        for name, parent in parents.items()
        if not parent.plain and ".experts." not in name
    }
    plain = [name for name, parent in parents.items() if parent.plain and parent.matrix]
    long = len(tails) > _LONGEST_LIST
    if not tails or long or any(tail in name for name in plain for tail in tails):
        return (
            f"list all quantized modules in `{key}`, with {evidence.engine}'s names for the draft"
        )
    return f"add the list to the metadata: `{json.dumps({key: list(tails)})[1:-1]}`"


def _cause(entry: Entry | None, them: str) -> str:
    """Return why modules are excluded."""
    if entry is None:
        return f"no target matches {them}"
    if entry.derived:
        return f"there is no list, and `{entry.spelling}` from the headers excludes {them}"
    return f"`{entry.spelling}` excludes {them}"


def schemes_differ(evidence: Evidence) -> Iterator[Finding]:
    """MTP203: quantized on both sides, in different formats."""
    for report in _differing(evidence, "quantized", State.QUANTIZED):
        decision = report.decision
        yield Finding(
            code="MTP203",
            severity="error",
            confidence="read",
            message=f"`{decision.module.name}` is {report.disk.format or 'quantized'} on disk, but "
            f"{evidence.engine} builds {decision.scheme}, which reads {decision.expects}"
            f"{_sizes(report)}.",
            modules=(decision.module.name,),
            where=evidence.where(decision.because),
        )


def _sizes(report: ModuleReport) -> str:
    """Return the sizes that the metadata states, where not the format but they differ."""
    decision = report.decision
    if report.disk.format is None or not (decision.expects or "").startswith(report.disk.format):
        return ""
    if decision.packing is not None:
        bits, size = decision.packing
        groups = "with one scale a row" if size == CHANNEL else f"in groups of {size}"
        return f" of {bits} bits {groups}, and its tensors have other sizes or names"
    if decision.block is not None:
        rows, columns = decision.block
        return f" in blocks of {rows} by {columns}, and its tensors have other sizes or names"
    return ""


def mixed_members(evidence: Evidence) -> Iterator[Finding]:
    """MTP204: members of one fused layer, or experts of one layer, differ on disk."""
    for report in evidence.draft:
        if report.disk.state is State.MIXED:
            yield Finding(
                code="MTP204",
                severity="error",
                confidence="read",
                message=f"some members of `{report.decision.module.name}` are quantized on disk "
                f"and others are not, but {evidence.engine} builds them as one layer: "
                f"{some(report.members)}. No metadata is right for both.",
                modules=(report.decision.module.name,),
            )


def raises(evidence: Evidence) -> Iterator[Finding]:
    """MTP205: building a module raises for another reason than a half-exempt layer."""
    groups: dict[tuple[Entry | None, str], list[ModuleReport]] = {}
    for report in (*evidence.draft, *evidence.trunk):
        decision = report.decision
        error = decision.error or ""
        unread = report.limit is not None and report.limit.phase == "config"  # MTP304
        if decision.built == "error" and not decision.halved and not unread:
            name = decision.module.name
            worded = error.replace(name, "{name}") if name else error
            groups.setdefault((decision.because, worded), []).append(report)
    for (entry, worded), reports in groups.items():
        error = worded.replace("{name}", reports[0].decision.module.name)
        yield Finding(
            code="MTP205",
            severity="error",
            confidence="read",
            message=f"{evidence.engine} raises an exception while it builds "
            f"{some(names(reports), 1)}: {exception(error)}",
            modules=names(reports),
            where=evidence.where(entry),
        )


def key_missing(evidence: Evidence) -> Iterator[Finding]:
    """MTP207: the model class reads a key of the metadata that is not there."""
    row = evidence.case.missing_key(evidence.view)
    subject = "the quantization metadata" if evidence.has_metadata else "config.json"
    if row is not None and evidence.report.outcome != "no_mtp":
        yield Finding(
            code="MTP207",
            severity="error",
            confidence=row.grade,
            message=f"{subject} has no `{row.key}`, and {evidence.engine} raises an "
            f"exception while it builds the model: {row.error}. {evidence.engine} {row.good_from} "
            "and newer do not need the key.",
            where=evidence.at(evidence.view.file, evidence.view.pointer),
            remedy=row.remedy,
        )


def trunk_differs(evidence: Evidence) -> Iterator[Finding]:
    """MTP206: trunk modules that differ for a reason that has nothing to do with the MTP block."""
    shared = {r.decision.because for r in evidence.draft if r.decision.built == "unquantized"}
    groups: dict[tuple[str, State, str | None], list[ModuleReport]] = {}
    for report in evidence.whole_trunk:
        decision = report.decision
        by_mtp = decision.because is not None and decision.because in shared  # MTP103
        always = report.disk.state is State.QUANTIZED and not decision.module.asks  # MTP303
        differs = report.agrees is False and report.limit is None and decision.built != "error"
        if differs and not by_mtp and not always:
            alike = decision.built == report.disk.state.value
            raised = report.detail if alike else None
            otherwise = "and cannot read what is stored" if raised else "in another format"
            other = f"{decision.built} {otherwise}" if alike else decision.built
            groups.setdefault((other, report.disk.state, raised), []).append(report)
    for (other, state, raised), group in groups.items():
        for entry, reports in _by_entry(group):
            why = "" if entry is None else f" because of `{entry.spelling}`"
            they_are, them = counted_subject(len(reports), "target-model module")
            helps = _exempting(evidence, reports) if state is State.UNQUANTIZED else None
            yield Finding(
                code="MTP206",
                severity="error",
                confidence=grade_of(reports),
                message=f"{they_are} {state.value} on disk, but {evidence.engine} "
                f"builds {them} {other}{why}: {some(names(reports))}."
                + (f" Loading ends in `{exception(raised)}`." if raised else "")
                + (f" {_HELPS}" if helps else ""),
                modules=names(reports),
                where=evidence.where(entry),
                remedy=helps,
            )


_HELPS = "Entries in the list fix this (`mtpfix rewrite --repair-trunk`)."
_MOST_NAMES = 4096
"""More names than a list that people write by hand has."""


def _exempting(evidence: Evidence, reports: Sequence[ModuleReport]) -> str | None:
    """Return what to add to the list by hand, where that has all modules built unquantized."""
    view, case = evidence.view, evidence.case
    found = tuple(dict.fromkeys(member for report in reports for member in report.members))
    if view.keyed or not found or len(found) > _MOST_NAMES:
        return None
    entries = tuple(Entry(name, view.file, f"{view.ignore_pointer}/-") for name in found)
    tried = replace(view, ignore=(*view.ignore, *entries))
    modules = [report.decision.module for report in reports]
    if any(report.agrees is False for report in case.judged(tried, modules)):
        return None
    key = view.ignore_pointer.rpartition("/")[2]
    return f"add {some(found)} to `{key}`"


RULES: tuple[Rule, ...] = (
    built_quantized,
    built_unquantized,
    schemes_differ,
    mixed_members,
    raises,
    key_missing,
    trunk_differs,
)
