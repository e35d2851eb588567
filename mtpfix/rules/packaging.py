"""MTP4xx: the files themselves."""

from __future__ import annotations

from collections.abc import Iterator

from mtpfix.model import Entry, Finding
from mtpfix.rules.evidence import Evidence, Rule, some


def files_disagree(evidence: Evidence) -> Iterator[Finding]:
    """MTP401: another file says otherwise than the one that the engine reads."""
    view = evidence.view
    ours = {entry.text: entry for entry in view.ignore}
    for twin in view.twins:
        theirs = {entry.text: entry for entry in twin.ignore}
        alone = [entry for text, entry in ours.items() if text not in theirs]
        other = [entry for text, entry in theirs.items() if text not in ours]
        said = [
            *(f"`{key}` differs" for key in twin.otherwise),
            *([f"it lacks {some(e.text for e in alone)}"] if alone else ()),
            *([f"it alone has {some(e.text for e in other)}"] if other else ()),
        ]
        if said:
            yield Finding(
                code="MTP401",
                severity="warning",
                confidence="run",
                message=f"{twin.file} disagrees with {view.file}, which {evidence.engine} "
                f"reads: {'; '.join(said)}",
                where=evidence.where(other[0]) if other else evidence.at(twin.file, twin.pointer),
                remedy="make both files say the same",
            )


def header_disagrees(evidence: Evidence) -> Iterator[Finding]:
    """MTP402: the index and a shard's header tell different stories."""
    roots = evidence.case.disk_roots
    for problem in evidence.problems:
        if problem.kind != "header_disagrees":
            continue
        about_mtp = any(name.startswith(roots) for name in problem.tensors)
        yield Finding(
            code="MTP402",
            severity="error" if about_mtp else "warning",
            confidence="run",
            message=problem.message,
            where=None if problem.elsewhere else evidence.at(problem.file, ""),
            remedy="`mtpfix rewrite` corrects what the index says of MTP tensors; what does not "
            "belong into a shard must be removed there",
        )


def hanging_pattern(evidence: Evidence) -> Iterator[Finding]:
    """MTP404: a pattern that takes so long that the engine would hang."""
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
            message=f"{some([entry.spelling])} is so slow that {evidence.engine} would hang: "
            f"{reason}",
            where=evidence.where(entry),
            remedy="write the pattern without nested repetition",
        )


RULES: tuple[Rule, ...] = (files_disagree, header_disagrees, hanging_pattern)
