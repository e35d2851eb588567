"""Gives findings the fix that the planner found for them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mtpfix.engines.vllm.judge import Case
from mtpfix.findings import kind
from mtpfix.model import Applicability, Finding, Fix, QuantView
from mtpfix.repair.plan import Options, Plan, plan


def with_fixes(
    findings: Sequence[Finding], cases: Sequence[Case], view: QuantView
) -> tuple[Finding, ...]:
    """The findings, with the edits that mend them where there are any.

    Args:
        findings: of all `cases` together.
        cases: the releases that the edits must be right for.
        view: the metadata as it is; where there is none, no list can be edited.
    """
    by = {kind(finding).fixed_by for finding in findings} if view.method else set()
    # A report is on the newest release, which needs no entry for the empty name, or on chosen ones.
    chosen = Options(chosen_releases=True)
    safe = plan(cases, view, chosen) if "list" in by else None
    trunk = plan(cases, view, replace(chosen, repair_trunk=True)) if "target list" in by else None
    return tuple(_fixed(finding, safe, trunk) for finding in findings)


def _fixed(finding: Finding, safe: Plan | None, trunk: Plan | None) -> Finding:
    fix, known = finding.fix, kind(finding)
    if known.fixed_by == "list" and safe is not None:
        fix = _fix(safe, finding.modules, "safe") or fix
    elif known.fixed_by == "target list" and trunk is not None and _touches(trunk, finding):
        fix = _fix(trunk, finding.modules, "unsafe") or fix
    elif known.by_hand is not None:
        fix = fix or Fix(known.by_hand, "display")
    return finding if fix is None else replace(finding, fix=fix)


def _touches(made: Plan, finding: Finding) -> bool:
    """Whether a plan edits the very entry that a finding blames, or the list that is not there."""
    where = finding.where
    return where is not None and any(
        edit.file == where.file and edit.pointer in (where.pointer, f"{where.pointer}/-")
        for edit in made.edits
    )


def _fix(made: Plan, modules: Iterable[str], applicability: Applicability) -> Fix | None:
    """The plan's edits as a fix for some modules; None if it leaves one of them wrong."""
    if not made.edits or {item.module for item in made.unresolved} & set(modules):
        return None
    return Fix(title(made), applicability, made.edits)


def title(made: Plan) -> str:
    """What a plan does to the ignore list, in a few words."""
    removed = ", ".join(f"`{text}`" for text in made.removed)
    added = ", ".join(f"`{text}`" for text in made.added)
    if removed and added:
        return f"in the ignore list, replace {removed} by {added}"
    return f"add {added} to the ignore list" if added else f"take {removed} off the ignore list"
