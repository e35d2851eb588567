"""From a target that was read to its repair, judged again: pure stages put together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from mtpfix.analysis import Analysis, analyze_planned
from mtpfix.engines.base import EngineCase
from mtpfix.errors import RefusedError, UnknownError
from mtpfix.findings import kind
from mtpfix.model import FAILED, Edit, Fix, Report
from mtpfix.patterns import budget
from mtpfix.repair import copies, patch, progress
from mtpfix.repair.diff import diff as unified
from mtpfix.repair.fixes import title
from mtpfix.repair.index import IndexRepair
from mtpfix.repair.plan import Options, Plan, nothing
from mtpfix.repair.planner import plan as make_plan
from mtpfix.repair.renames import Renames
from mtpfix.repair.stages import composed
from mtpfix.repair.verdicts import sharing, views_of
from mtpfix.repair.wider_targets import widened
from mtpfix.selection import Selection
from mtpfix.subject import Subject, patched


@dataclass(frozen=True, slots=True)
class Repair:
    """A planned repair of one target.

    Attributes:
        before: the report on the files as they are, for all releases that it is planned for.
        after: the report on the files as they would be; proof of the plan.
        plan: what changes, and what is left.
        files: path -> (bytes as read, bytes after the edits), only files that change.
        diff: the change as a unified diff; empty when nothing changes.
        selection: for which releases and platforms it is planned, and which decide.
        checked_before: what `check` says of the files as they are, for what decides.
        checked: what `check` says of the files as they would be, for what decides.
        repair_trunk_helps: whether `Options.repair_trunk` would fix more of what decides.
        notes: what else a person should know.
        index: what is corrected in the index of the shards.
        renames: tensors that get other names.
        renames_help: whether `Options.rename_tensors` would fix more of what decides.
        alone_helps: the engine that decides, where a plan for it alone would fix more; or empty.
    """

    before: Report
    after: Report
    plan: Plan
    files: Mapping[str, tuple[bytes, bytes]]
    diff: str
    selection: Selection
    checked_before: Report
    checked: Report
    repair_trunk_helps: bool = False
    notes: tuple[str, ...] = ()
    index: IndexRepair = field(default_factory=IndexRepair)
    renames: Renames = field(default_factory=Renames)
    renames_help: bool = False
    alone_helps: str = ""

    @property
    def edits(self) -> tuple[Edit, ...]:
        """What is changed in the files: in the metadata, and in the index."""
        return (*self.plan.edits, *self.index.edits)

    @property
    def changes(self) -> tuple[str, ...]:
        """The files that change, weight files included."""
        return (*self.renames.files, *self.files)

    @property
    def exit_code(self) -> int:
        """That of `check` for the releases and platforms that decide, after the edits."""
        return self.checked.exit_code

    @property
    def refused(self) -> str | None:
        """Why no edit is offered although a release that decides is wrong, or None."""
        return self.plan.refused if self.exit_code else None


def planned(subject: Subject, selection: Selection, options: Options) -> Repair:
    """Return the repair of a target that has been read; see `plan`."""
    return planned_with_cases(subject, selection, options)[0]


@budget.shared()
def planned_with_cases(
    subject: Subject, selection: Selection, options: Options
) -> tuple[Repair, tuple[EngineCase, ...]]:
    """Return the repair, and the cases that it was planned for, as they are before it.

    Where a draft reads metadata of its own and finds none, a copy is tried, and entries on top.
    """
    made, cases = _planned(subject, selection, options)
    configs = subject.files.listing.configs
    edit = copies.copy(cases[0].view, configs) if _lacks(made, cases) else None
    if edit is None:
        return made, cases
    tried, _ = _planned(patched(subject, _edited(subject, [edit])), selection, options)
    worse = progress.worsened(made.after, tried.after)
    if worse or not progress.improved(made.after, tried.after):
        return made, cases
    edits = composed(configs, [edit], tried.plan.edits)
    files = _edited(subject, edits)
    return replace(
        tried,
        before=made.before,
        checked_before=made.checked_before,
        plan=replace(tried.plan, edits=edits, metadata_copied=True),
        files=files,
        diff=_diff(files),
    ), cases


def attach_copy(
    report: Report, cases: Sequence[EngineCase], subject: Subject, selection: Selection
) -> Report:
    """Return a report whose findings about metadata that a draft lacks have the copy as a fix.

    Args:
        report: what was found.
        cases: what it was found in.
        subject: the target.
        selection: what was judged.
    """
    lacking = [each for each in report.findings if kind(each).fixed_by == "copy"]
    own = any(case.reads_its_own for case in cases)
    if not lacking or not own or copies.copy(cases[0].view, subject.files.listing.configs) is None:
        return report
    made = planned(subject, selection.narrowed(cases), Options())
    if not made.plan.metadata_copied:
        return report
    fix = Fix(title(made.plan), "safe", made.plan.edits)
    return replace(
        report,
        findings=tuple(
            replace(each, repair=fix, remedy=None) if each in lacking else each
            for each in report.findings
        ),
    )


def _lacks(made: Repair, cases: Sequence[EngineCase]) -> bool:
    """Return whether a draft fails that reads its metadata anew."""
    own = {(case.engine.name, case.release, case.platform) for case in cases if case.reads_its_own}
    return any(
        (each.engine, each.version, each.platform) in own
        for each in made.after.engines
        if each.outcome in FAILED
    )


def _planned(
    subject: Subject, selection: Selection, options: Options
) -> tuple[Repair, tuple[EngineCase, ...]]:
    """Return the same with the metadata where they are."""
    if selection.planned.unknown is not None:
        raise selection.planned.unknown
    whole, checked = analyze_planned(subject, selection)
    if whole.error is not None:
        raise whole.error
    if not whole.has_metadata:
        whole_report, report = whole.report, checked.report
        none = Repair(whole_report, whole_report, nothing(), {}, "", selection, report, report)
        return none, whole.cases
    old = _Judged(whole, checked)
    options = informed(options, selection)
    shared = _sharing(whole.cases, selection)
    deciding, configs = selection.deciding(shared), subject.files.listing.configs
    made = make_plan(shared, shared[0].view, options, configs, deciding)
    files = _edited(subject, made.edits)
    new = _Judged(*analyze_planned(patched(subject, files), selection)) if files else old
    repair = Repair(
        before=old.whole.report,
        after=new.whole.report,
        plan=made,
        files=files,
        diff=_diff(files),
        selection=selection,
        checked_before=old.checked.report,
        checked=new.checked.report,
        repair_trunk_helps=_trunk_repair_helps(subject, shared, new, selection, options),
        notes=tuple(_left_out(whole.cases, shared)),
        alone_helps=_alone(subject, shared, new, selection, options),
    )
    return repair, whole.cases


class _Judged(NamedTuple):
    """What is said of one state of the files: by all that is planned for, by what decides."""

    whole: Analysis
    checked: Analysis


def _sharing(cases: Sequence[EngineCase], selection: Selection) -> tuple[EngineCase, ...]:
    """Return the cases of all engines that read the same list as the first.

    Raises:
        UnknownError: one that was asked for by name reads another, which no single plan can change.
    """
    shared = sharing(cases)
    left = {case.engine for case in cases}.difference(case.engine for case in shared)
    if any(map(selection.requires, left)):
        raise UnknownError(
            "the engines read different lists",
            "plan for one engine at a time with --engine",
        )
    return shared


def _left_out(cases: Sequence[EngineCase], shared: Sequence[EngineCase]) -> Iterator[str]:
    """Yield that the repair is not planned for an engine, since it reads another list."""
    planned = {case.engine for case in shared}
    for engine in dict.fromkeys(case.engine for case in cases if case.engine not in planned):
        yield (
            f"{engine.title} reads another list than {shared[0].engine.title}: the repair is not "
            f"planned for it; `--engine {engine.name}` plans for it alone"
        )


def _trunk_repair_helps(
    subject: Subject,
    shared: Sequence[EngineCase],
    new: _Judged,
    selection: Selection,
    options: Options,
) -> bool:
    """Return whether a plan that may also correct modules of the target model leaves less wrong."""
    if new.checked.report.exit_code != RefusedError.exit_code or options.repair_trunk:
        return False
    wanted, configs = replace(options, repair_trunk=True), subject.files.listing.configs
    deciding, view = selection.deciding(shared), shared[0].view
    lists_only = not widened(shared, views_of(shared, view), configs).edits
    wide = make_plan(shared, view, wanted, configs, deciding, lists_only=lists_only)
    return _helps(wide, subject, new, selection)


def _alone(
    subject: Subject,
    shared: Sequence[EngineCase],
    new: _Judged,
    selection: Selection,
    options: Options,
) -> str:
    """Return the engine that decides, if what is planned for others too is worse for it."""
    deciding = selection.deciding(shared)
    engines = {case.engine for case in deciding}
    if new.checked.report.exit_code != RefusedError.exit_code or len(engines) != 1:
        return ""
    own = [case for case in shared if case.engine in engines]
    if len(own) == len(shared):
        return ""
    made = make_plan(own, own[0].view, options, subject.files.listing.configs, deciding)
    return own[0].engine.name if _helps(made, subject, new, selection) else ""


def _helps(made: Plan, subject: Subject, new: _Judged, selection: Selection) -> bool:
    """Return whether another plan leaves less wrong, for what decides, than the one made."""
    if made.refused is not None or not made.edits:
        return False
    corrected = analyze_planned(patched(subject, _edited(subject, made.edits)), selection)[1]
    return progress.improved(new.checked.report, corrected.report)


def _edited(subject: Subject, edits: Sequence[Edit]) -> dict[str, tuple[bytes, bytes]]:
    """Path -> old and new bytes of every file that is edited."""
    configs = subject.files.listing.configs
    new = patch.apply_all(edits, lambda name: configs[name].raw)
    return {name: (configs[name].raw, raw) for name, raw in new.items()}


def _diff(files: Mapping[str, tuple[bytes, bytes]]) -> str:
    """Return what changes in the files, as `diff -u` shows it."""
    return "".join(unified(was, becomes, name) for name, (was, becomes) in files.items())


def informed(options: Options, selection: Selection) -> Options:
    """Return the options, with whether the user named the releases."""
    return replace(options, chosen_releases=selection.explicit)
