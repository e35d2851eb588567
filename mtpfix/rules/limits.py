"""MTP3xx: what no metadata can fix on this release or platform."""

from __future__ import annotations

from collections.abc import Iterator

from mtpfix.model import Finding, Limit, ModuleReport, State
from mtpfix.rules.evidence import Evidence, Rule, counted_subject, names, some


def limited(evidence: Evidence) -> Iterator[Finding]:
    """MTP301: a fault of the engine that no entry can reach."""
    engine = evidence.engine
    groups: dict[Limit, list[ModuleReport]] = {}
    for report in (*evidence.draft, *evidence.unasked, *evidence.whole_trunk):
        if report.limit is not None and report.limit.phase != "config":
            groups.setdefault(report.limit, []).append(report)
    for limit, reports in groups.items():
        good = (
            f"Fixed in {engine} {limit.good_from}."
            if limit.good_from
            else "No covered release has a fix."
        )
        way_out = limit.remedy or (
            f"take a release that has the fix: `mtpfix check --{evidence.case.engine.name} "
            f"'>={limit.good_from}'` says which are right"
            if limit.good_from
            else "quantize the module"
        )
        yield Finding(
            code="MTP301",
            severity="error",
            confidence=limit.grade,
            message=f"no entry can fix {some(names(reports), 1)} here: {limit.reason}. {good}",
            modules=names(reports),
            remedy=way_out,
        )


def refused(evidence: Evidence) -> Iterator[Finding]:
    """MTP304: the engine takes the quantization method for no draft here, or not at all."""
    reports = (*evidence.draft, *evidence.trunk)
    limits = (r.limit for r in reports if r.limit is not None and r.limit.phase == "config")
    for limit in dict.fromkeys(limits):
        good = f"; fixed in {evidence.engine} {limit.good_from}" if limit.good_from else ""
        yield Finding(
            code="MTP304",
            severity="error",
            confidence=limit.grade,
            message=f"{limit.reason}{good}. {evidence.engine} ends with {limit.error}",
            where=evidence.at(evidence.view.file, evidence.view.pointer),
            remedy=limit.remedy or None,
        )


def never_quantized(evidence: Evidence) -> Iterator[Finding]:
    """MTP303: quantized on disk, in a place that the engine always builds unquantized."""
    unasked = (r for r in evidence.whole_trunk if not r.decision.module.asks)
    quantized = [r for r in (*evidence.unasked, *unasked) if r.disk.state is State.QUANTIZED]
    wrong = [r for r in quantized if r.agrees is False and r.limit is None]
    if wrong:
        they_are, them = counted_subject(len(wrong), "module")
        yield Finding(
            code="MTP303",
            severity="error",
            confidence="read",
            message=f"{they_are} quantized on disk, but {evidence.engine} always builds {them} "
            f"unquantized: {some(r.decision.module.param for r in wrong)}. No metadata can "
            "change that.",
            modules=tuple(r.decision.module.param for r in wrong),
            remedy="store these modules unquantized",
        )


RULES: tuple[Rule, ...] = (limited, refused, never_quantized)
