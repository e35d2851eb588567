"""MTP2xx: the disk and what vLLM builds are of different precision."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from mtpfix.engines.vllm.judge import unmet
from mtpfix.engines.vllm.methods.scan import NAMES, reads_headers
from mtpfix.model import Entry, Finding, Fix, ModuleReport, State
from mtpfix.quant.gptq import BLOCKS
from mtpfix.rules.evidence import Evidence, Rule, exception, grade_of, names, some, told


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
        they_are, them = told(len(reports), "MTP module")
        yield Finding(
            code="MTP201",
            severity="error",
            confidence=grade_of(reports),
            message=f"{they_are} unquantized on disk, but {target} covers {them} and no ignore "
            f"entry exempts {them}: {some(names(reports))}. "
            f"{_outcome(evidence, reports)}",
            modules=names(reports),
            where=evidence.where(entry),
        )


def _outcome(evidence: Evidence, reports: list[ModuleReport]) -> str:
    """What the difference comes to, in a sentence; vLLM dies on the first one that it meets."""
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
    unlisted = evidence.view.method == NAMES and reads_headers(evidence.view)
    for entry, reports in _by_entry(_differing(evidence, "unquantized", State.QUANTIZED)):
        they_are, them = told(len(reports), "MTP module")
        cause = _cause(entry, them) if evidence.has_metadata else _without_metadata(them)
        fix = None if evidence.has_metadata else Fix(_RESTORE, "display")
        if entry is None and unlisted:
            cause = f"vLLM takes its list from the tensor headers, which name {them} otherwise"
            fix = _list_of_parts(evidence)
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
            fix=fix,
        )


_RESTORE = "restore the metadata that the quantizer wrote"


def _without_metadata(them: str) -> str:
    return f"config.json has no quantization_config: vLLM builds {them} unquantized"


def _list_of_parts(evidence: Evidence) -> Fix:
    """The list of GPTQ, by parts of names that are the same on disk and in the engine if it can."""
    parents = evidence.case.inventory.parents
    behind = re.compile(r"^(?:[^.\d][^.]*\.)*\d+\.")
    tails = {
        behind.sub("", name): None
        for name, parent in parents.items()
        if not parent.plain and ".experts." not in name
    }
    plain = [name for name, parent in parents.items() if parent.plain and parent.matrix]
    if not tails or any(tail in name for name in plain for tail in tails):
        return Fix(
            f"list in `{BLOCKS}` all that is quantized, the draft by vLLM's names", "display"
        )
    return Fix(f"give the list: `{json.dumps({BLOCKS: list(tails)})[1:-1]}`", "display")


def _cause(entry: Entry | None, them: str) -> str:
    """Why modules are exempt."""
    if entry is None:
        return f"no target covers {them}"
    if entry.derived:
        return f"no list is given, and `{entry.spelling}` in the tensor headers exempts {them}"
    return f"`{entry.spelling}` exempts {them}"


def schemes_differ(evidence: Evidence) -> Iterator[Finding]:
    """MTP203: quantized on both sides, in different formats."""
    for report in _differing(evidence, "quantized", State.QUANTIZED):
        decision = report.decision
        yield Finding(
            code="MTP203",
            severity="error",
            confidence="read",
            message=f"`{decision.module.name}` is {report.disk.format or 'quantized'} on disk, but "
            f"vLLM builds {decision.scheme}, which reads {decision.expects}.",
            modules=(decision.module.name,),
            where=evidence.where(decision.because),
        )


def mixed_members(evidence: Evidence) -> Iterator[Finding]:
    """MTP204: members of one fused layer, or experts of one layer, differ on disk."""
    for report in evidence.draft:
        if report.disk.state is State.MIXED:
            yield Finding(
                code="MTP204",
                severity="error",
                confidence="read",
                message=f"the members of `{report.decision.module.name}` are partly quantized on "
                f"disk, and vLLM builds them as one layer: {some(report.members)}. No metadata can "
                "be right for both.",
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
            message=f"vLLM raises while it builds {some(names(reports), 1)}: {exception(error)}",
            modules=names(reports),
            where=evidence.where(entry),
        )


def key_missing(evidence: Evidence) -> Iterator[Finding]:
    """MTP207: the model class reads a key of the metadata that is not there."""
    row = unmet(evidence.case.policy, evidence.case.context, evidence.view)
    subject = "the quantization metadata" if evidence.has_metadata else "config.json"
    if row is not None and evidence.report.outcome != "no_mtp":
        yield Finding(
            code="MTP207",
            severity="error",
            confidence=row.grade,
            message=f"{subject} has no `{row.key}`, and vLLM raises while it "
            f"builds the model: {row.error}. Good without it from vLLM {row.good_from}.",
            where=evidence.at(evidence.view.file, evidence.view.pointer),
            fix=Fix(row.remedy, "display"),
        )


def trunk_differs(evidence: Evidence) -> Iterator[Finding]:
    """MTP206: trunk modules that differ for a reason that has nothing to do with the MTP block."""
    shared = {r.decision.because for r in evidence.draft if r.decision.built == "unquantized"}
    groups: dict[tuple[str, State], list[ModuleReport]] = {}
    for report in evidence.whole_trunk:
        decision = report.decision
        by_mtp = decision.because is not None and decision.because in shared  # MTP103
        differs = report.agrees is False and report.limit is None and decision.built != "error"
        if differs and not by_mtp:
            groups.setdefault((decision.built, report.disk.state), []).append(report)
    for (built, state), group in groups.items():
        other = f"{built} in another format" if built == state.value else built
        for entry, reports in _by_entry(group):
            by = "" if entry is None else f"by `{entry.spelling}` "
            they_are, them = told(len(reports), "trunk module")
            yield Finding(
                code="MTP206",
                severity="error",
                confidence=grade_of(reports),
                message=f"{they_are} {state.value} on disk, and {by}vLLM "
                f"builds {them} {other}: {some(names(reports))}.",
                modules=names(reports),
                where=evidence.where(entry),
            )


RULES: tuple[Rule, ...] = (
    built_quantized,
    built_unquantized,
    schemes_differ,
    mixed_members,
    raises,
    key_missing,
    trunk_differs,
)
