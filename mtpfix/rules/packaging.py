"""MTP4xx: the files themselves."""

from __future__ import annotations

from collections.abc import Iterator

from mtpfix.engines.vllm.names import disk_roots
from mtpfix.model import Entry, Finding, Fix
from mtpfix.rules.evidence import Evidence, Rule, some


def header_disagrees(evidence: Evidence) -> Iterator[Finding]:
    """MTP402: the index and a shard's header tell different stories."""
    roots = disk_roots(evidence.case.policy, evidence.case.context)
    for problem in evidence.checkpoint.problems:
        if problem.kind != "header_disagrees":
            continue
        about_mtp = any(name.startswith(roots) for name in problem.tensors)
        yield Finding(
            code="MTP402",
            severity="error" if about_mtp else "warning",
            confidence="run",
            message=problem.message,
            where=evidence.at(problem.file, ""),
            fix=Fix("write model.safetensors.index.json anew from the shards", "display"),
        )


def hanging_pattern(evidence: Evidence) -> Iterator[Finding]:
    """MTP404: a pattern that takes so long that vLLM would hang."""
    slow: dict[Entry, str] = {}
    for report in (*evidence.draft, *evidence.trunk):
        decision = report.decision
        if decision.built == "unknown" and decision.because is not None:
            slow.setdefault(decision.because, decision.error or "")
    for entry, reason in slow.items():
        yield Finding(
            code="MTP404",
            severity="error",
            confidence="run",
            message=f"{some([entry.spelling])} is too slow, vLLM would hang: {reason}",
            where=evidence.where(entry),
            fix=Fix("write the pattern without nested repetition", "display"),
        )


RULES: tuple[Rule, ...] = (header_disagrees, hanging_pattern)
