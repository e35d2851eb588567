"""Gives findings the edits that the planner found for them, where they are shown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mtpfix.engines.base import EngineCase
from mtpfix.findings import kind
from mtpfix.model import Applicability, Finding, Fix, JsonFile, Report
from mtpfix.repair.plan import Options, Plan
from mtpfix.repair.planner import plan
from mtpfix.repair.verdicts import sharing

COPIED = "copy the metadata into the text configuration"


def attach_fixes(
    report: Report, cases: Sequence[EngineCase], configs: Mapping[str, JsonFile]
) -> Report:
    """Return a report whose findings have the edits that fix them, where there are any.

    Args:
        report: what was found.
        cases: what it was found in: the releases that the edits must be right for.
        configs: the files that state the metadata, by name.
    """
    if not cases:
        return report
    cases, view = sharing(cases), cases[0].view
    counted = {each.engine for each in report.engines if each.decides}
    deciding = [case for case in cases if case.engine.name in counted]
    deciding = [] if len(deciding) == len(cases) else deciding
    by = {kind(finding).fixed_by for finding in report.findings} if view.method else set()
    # A report is on the newest release, which needs no entry for the empty name, or on chosen ones.
    chosen = Options(chosen_releases=True)
    safe = plan(cases, view, chosen, configs, deciding) if "metadata" in by else None
    wider = replace(chosen, repair_trunk=True)
    trunk = None
    if "target list" in by:
        trunk = plan(cases, view, wider, configs, deciding, lists_only=True)
    return replace(report, findings=tuple(_fixed(f, safe, trunk) for f in report.findings))


def _fixed(finding: Finding, safe: Plan | None, trunk: Plan | None) -> Finding:
    fix, known = finding.repair, kind(finding)
    if known.fixed_by == "metadata" and safe is not None:
        fix = _fix(safe, finding.modules, "safe") or fix
    elif known.fixed_by == "target list" and trunk is not None and _touches(trunk, finding):
        fix = _fix(trunk, finding.modules, "unsafe") or fix
    if fix is None and known.by_hand is not None and finding.remedy is None:
        fix = Fix(known.by_hand, "display")
    return finding if fix is None else replace(finding, repair=fix)


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
    """What a plan does, in a few words."""
    removed = ", ".join(f"`{text}`" for text in made.removed)
    added = ", ".join(f"`{text}`" for text in made.added)
    parts = [f"give modules the scheme that they are stored in ({given})" for given in made.schemes]
    parts += [COPIED] if made.metadata_copied else []
    if removed and added:
        parts.append(f"in the ignore list, replace {removed} by {added}")
    elif added:
        parts.append(f"add {added} to the ignore list")
    elif removed:
        parts.append(f"remove {removed} from the ignore list")
    return ", and ".join(parts)
