"""The repair of the metadata: the index first, and what it names then; judged before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mtpfix.analysis import analyze
from mtpfix.changes import index, metadata, names
from mtpfix.changes.copied import Copy
from mtpfix.changes.metadata import Helps, Metadata
from mtpfix.changes.names import Names
from mtpfix.changes.repair import Repair
from mtpfix.changes.search import Proposer, search
from mtpfix.changes.state import State
from mtpfix.checkpoint.remembered import Remembered
from mtpfix.checkpoint.source import Source
from mtpfix.engines.base import EngineCase
from mtpfix.errors import RefusedError, UnknownError
from mtpfix.findings import kind
from mtpfix.model import Applicability, Finding, Fix, Report
from mtpfix.repair import copies, reasons, renames
from mtpfix.repair.fixes import title
from mtpfix.repair.plan import Options, Plan
from mtpfix.selection import Selection, asking
from mtpfix.subject import Subject, open_subject

PROPOSERS: tuple[Proposer, ...] = (Copy(), Metadata())
"""The kinds of repair of metadata, each searched on top of the changes of those before it."""


def plan(
    source: Source,
    draft: Source | None,
    selection: Selection,
    options: Options,
    proposers: tuple[Proposer, ...] = PROPOSERS,
) -> Repair:
    """Read a target, correct its index, and return the repair of what is then read.

    Args:
        source: the target.
        draft: where the MTP block is loaded from; None: from the target. An index is corrected, and
            scales get other names, only where the block is the target's own.
        selection: for what it is planned.
        options: what may be changed.
        proposers: the kinds of repair that are tried.

    Raises:
        RefusedError: names would have to change in a file that holds the target model, too.
        UnknownError: the family, the method or a release is not covered.
        MtpfixError: the target cannot be read.
    """
    if draft is not None:
        subject = open_subject(source, selection.engines, draft=draft)
        return of_subject(source, subject, selection, options, proposers)
    remembered = Remembered(source)
    correction = index.read(remembered, selection)
    start = begin(remembered, correction.after, selection, options)
    start = replace(start, files=correction.content)
    tried = Names()
    stack = (tried, *proposers) if options.renames else proposers
    best = search(start, stack)
    made = repaired(start, best, metadata.helps(best))
    if correction.files:
        made = replace(made, old=correction.judged(selection))
    old, new = (each.mapped(correction.explained) for each in (made.old, made.new))
    made = replace(made, old=old, new=new, index=correction.repair)
    if not options.renames:
        helps = names.would_help(start, best, proposers)
        return _refused(replace(made, renames_help=helps))
    if not best.renames and made.exit_code == names.WRONG:
        made = replace(made, notes=(*made.notes, tried.reason))
    return _refused(_with_renames(made, start, best))


def of_subject(
    source: Source,
    subject: Subject,
    selection: Selection,
    options: Options,
    proposers: tuple[Proposer, ...] = PROPOSERS,
) -> Repair:
    """Return the repair of the metadata of a target that has been read; see `plan`."""
    start = begin(source, subject, selection, options)
    best = search(start, proposers)
    return _refused(repaired(start, best, metadata.helps(best)))


def begin(source: Source, subject: Subject, selection: Selection, options: Options) -> State:
    """Return a target as it is.

    Raises:
        UnknownError: a release that was asked for is not covered, or nothing could be judged.
    """
    if selection.planned.unknown is not None:
        raise selection.planned.unknown
    start = State(source, subject, selection, metadata.chosen(options, explicit=selection.explicit))
    start.judgement.required()
    return start


def repaired(start: State, best: State, helps: Helps = Helps()) -> Repair:  # noqa: B008 - frozen
    """Return what leads from one state to another as a repair.

    Args:
        start: the target as it is; its `files` are written, too.
        best: as it would be.
        helps: what would fix more.
    """
    cases = start.judgement.cases
    judged = best.judgement.planned.engines
    deciding = {case.platform for case in start.selection.deciding(cases)}
    stays = (reasons.held(each, judged, deciding) for each in best.plan.unresolved)
    notes = metadata.unplanned(cases, start.sharing) if start.judgement.has_metadata else ()
    return Repair(
        source=start.source,
        selection=start.selection,
        old=start.judgement,
        new=best.judgement,
        plan=replace(best.plan, edits=best.edits, unresolved=tuple(stays)),
        files=_files(start, best),
        notes=tuple(notes),
        repair_trunk_mends=helps.repair_trunk,
        alone_helps=helps.engine,
    )


def _files(start: State, best: State) -> dict[str, tuple[bytes | None, bytes]]:
    """Return the files that differ, metadata first.

    The index comes last: what it names is seen once the metadata is right for it.
    """
    configs, there = start.configs, set(start.subject.files.listing.files)
    files: dict[str, tuple[bytes | None, bytes]] = {}
    for name in sorted(best.files, key=lambda name: name not in configs):
        if name in configs:
            old: bytes | None = configs[name].raw
        else:
            old = start.source.read(name) if name in there else None
        if old != best.files[name]:
            files[name] = old, best.files[name]
    return files


def _with_renames(made: Repair, start: State, best: State) -> Repair:
    """Return a repair with the files whose tensors get other names, and the index that follows.

    Raises:
        RefusedError: the files cannot have them.
    """
    in_place = start.options.rename_in_place
    ours = names.block(start.subject)
    found = renames.of(best.renames, start.subject.files.checkpoint, ours, in_place=in_place)
    if found.mixed and not in_place:
        raise _mixed(found, made)
    try:
        for file in found.files if in_place else ():
            renames.fitted(start.source.read_header(file)[0], best.renames, file)
    except RefusedError as error:
        raise RefusedError(error.message, error.remedy, repair=made) from None
    name, files = best.subject.files.listing.index, dict(made.files)
    if name is not None:
        new = renames.index(best.read(name), best.subject.files.checkpoint)
        old = start.source.read(name)
        files.pop(name, None)
        files |= {name: (old, new)} if old != new else {}
    return replace(made, files=files, renames=found)


def _mixed(found: renames.Renames, made: Repair) -> RefusedError:
    file = found.mixed[0]
    count = len(found.within(file))
    return RefusedError(
        f"{file}: {count} {'tensor' if count == 1 else 'tensors'} of the MTP block would get other "
        "names, and the file holds tensors of the target model, too; nothing was written",
        "with --write, --rename-in-place edits the header of the file where it is, and copies no "
        "weights",
        repair=made,
    )


def _refused(made: Repair) -> Repair:
    """Return a repair that says why it may not be written, if no edit is right."""
    if made.plan.refused is None or not made.exit_code:
        return made
    return replace(made, refusal=RefusedError(made.plan.refused, hint(made), repair=made))


def hint(made: Repair, otherwise: str = "see `mtpfix inspect` for each module") -> str:
    """Return what helps where a repair does not.

    Args:
        made: the repair.
        otherwise: what to say where nothing is known to help.
    """
    if (said := next(reasons.helping(made), None)) is not None:
        return said
    if made.plan.refused is not None and made.exit_code and not made.selection.explicit:
        option = asking(made.selection.engines[0].name, "RELEASE")
        return f"{otherwise}; `{option}` plans for that release only"
    return otherwise


# --- for a report -----------------------------------------------------------------------


def attach_repairs(
    report: Report,
    cases: Sequence[EngineCase],
    source: Source,
    subject: Subject,
    selection: Selection,
) -> Report:
    """Return a report with the fixes that take a search: each is judged again before it is given.

    Metadata that a draft lacks get a copy, the target model the entries and targets that it lacks.

    Args:
        report: what is wrong.
        cases: the releases in which it is.
        source: the files of the target.
        subject: the target.
        selection: what was judged.
    """

    def repair(options: Options) -> Repair:
        return of_subject(source, subject, selection.narrowed(cases), options)

    if not cases:
        return report
    lacking, target = (_fixed_by(report, by) for by in ("copy", "target model"))
    own, configs = any(case.reads_its_own for case in cases), subject.files.listing.configs
    if lacking and own and copies.copy(cases[0].view, configs) is not None:
        made = repair(Options()).plan
        report = _with_fix(report, lacking, made, "safe") if made.metadata_copied else report
    if target and cases[0].view.method:
        try:
            report = _with_target(report, target, repair(Options(repair_trunk=True)))
        except (RefusedError, UnknownError):  # there is no plan for all of them: the remedy stays
            return report
    return report


def _fixed_by(report: Report, by: str) -> list[Finding]:
    return [finding for finding in report.findings if kind(finding).fixed_by == by]


def _with_target(report: Report, wrong: Sequence[Finding], made: Repair) -> Report:
    """Return the report with a repair as the fix of findings none of whose modules stay wrong."""
    if not made.plan.edits or made.plan.refused is not None:
        return report
    errors = (found for found in made.after.findings if found.severity == "error")
    stay = {name for found in errors for name in found.modules}
    mended = [each for each in wrong if stay.isdisjoint(each.modules)]
    return _with_fix(report, mended, made.plan, "unsafe")


def _with_fix(
    report: Report, mended: Sequence[Finding], made: Plan, applicability: Applicability
) -> Report:
    fix = Fix(title(made), applicability, made.edits)
    findings = (
        replace(each, repair=fix, remedy=None) if each in mended else each
        for each in report.findings
    )
    return replace(report, findings=tuple(findings))


def attach_hint(report: Report, source: Source, subject: Subject, selection: Selection) -> Report:
    """Return a report that says so where other names for scales would fix what metadata does not.

    Args:
        report: on what decides.
        source: the files of the target.
        subject: the target.
        selection: what was judged.
    """
    wrong = report.exit_code == names.WRONG and subject.files.draft is None
    if not wrong or not names.candidates(subject, report):
        return report
    cases = analyze(subject, selection).cases
    if not cases or not cases[0].view.method:
        return report
    start = begin(source, subject, selection.narrowed(cases), Options())
    if not names.would_help(start, search(start, PROPOSERS), PROPOSERS):
        return report
    return replace(report, notes=(*report.notes, names.HINT))
