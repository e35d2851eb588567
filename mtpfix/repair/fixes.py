"""Gives findings the fix that the planner found for them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mtpfix.engines.vllm.judge import Case
from mtpfix.model import Applicability, Finding, Fix, QuantView
from mtpfix.repair.plan import Options, Plan, plan

_BY_LIST = frozenset({"MTP102", "MTP201", "MTP202"})
"""Codes of what an ignore list can mend."""
_BY_TRUNK = frozenset({"MTP103", "MTP206"})
"""The same, where the trunk's own modules move: only with the user's leave."""
_BY_HAND = {
    "MTP203": "quantize these modules anew, in the scheme that their target has",
    "MTP204": "store all members of the module in one precision",
    "MTP205": "correct the entry or the group that vLLM cannot use",
}


def with_fixes(
    findings: Sequence[Finding], cases: Sequence[Case], view: QuantView
) -> tuple[Finding, ...]:
    """The findings, with the edits that mend them where there are any.

    Args:
        findings: of all `cases` together.
        cases: the releases that the edits must be right for.
        view: the metadata as it is; where there is none, no list can be edited.
    """
    codes = {finding.code for finding in findings} if view.method else set()
    # A report is on the newest release, which needs no entry for the empty name, or on chosen ones.
    chosen = Options(chosen_releases=True)
    safe = plan(cases, view, chosen) if codes & _BY_LIST else None
    trunk = plan(cases, view, replace(chosen, repair_trunk=True)) if codes & _BY_TRUNK else None
    return tuple(_fixed(finding, safe, trunk) for finding in findings)


def _fixed(finding: Finding, safe: Plan | None, trunk: Plan | None) -> Finding:
    fix = finding.fix
    if finding.code in _BY_LIST and safe is not None:
        fix = _fix(safe, finding.modules, "safe") or fix
    elif finding.code in _BY_TRUNK and trunk is not None and _touches(trunk, finding):
        fix = _fix(trunk, finding.modules, "unsafe") or fix
    elif finding.code in _BY_HAND:
        fix = fix or Fix(_BY_HAND[finding.code], "display")
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
