"""Other names for the scales of an MTP block, where only the names are wrong: found by trial.

What metadata alone can repair is repaired by metadata alone. Where something is left wrong, the
target is read as if scales had other names, and planned for again. The fewest renames count that
leave the fewest releases wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from mtpfix.analysis import analyze
from mtpfix.checkpoint.precision import by_module
from mtpfix.checkpoint.source import Source
from mtpfix.engines.base import EngineCase
from mtpfix.errors import RefusedError
from mtpfix.model import FAILED, Report
from mtpfix.planning import Repair, planned_with_cases
from mtpfix.repair import progress, renames
from mtpfix.repair.diff import diff as unified
from mtpfix.repair.plan import Options
from mtpfix.selection import Selection
from mtpfix.subject import Subject, renamed

WRONG = 1
"""The exit code of a report in which something is wrong."""
_SHOWN = 3
"""Modules that a reason names."""
HINT = (
    "the scales of the MTP block have names that no metadata fits: `mtpfix rewrite "
    "--rename-tensors` gives them others"
)


def planned(
    subject: Subject, source: Source, selection: Selection, options: Options
) -> tuple[Repair, tuple[EngineCase, ...]]:
    """Return the repair of a target that has been read, with other names where they are allowed.

    With it the cases come that it was planned for.

    Args:
        subject: the target, which holds its MTP block and has an index that is right about it.
        source: where it was read.
        selection: for what it is planned.
        options: what may be changed.

    Raises:
        RefusedError: names would have to change in a file that holds the target model, too.
        MtpfixError: as for `planning.planned`.
    """
    made, cases = planned_with_cases(subject, selection, options)
    found = _tried(subject, made, selection, options, cases)
    if not options.renames:
        return replace(made, renames_help=bool(found.names)), cases
    names, after = found.names, made
    if names:
        after, _ = planned_with_cases(renamed(subject, names), selection, options)
    if names and progress.spoilt(made.before, after.after):
        names, after = {}, made
    if not names and made.exit_code == WRONG:
        after = replace(made, notes=(*made.notes, found.reason))
    given = _renames(subject, names, source, made, options)
    return _joined(made, given, subject, source, after), cases


def hinted(report: Report, subject: Subject, selection: Selection) -> Report:
    """Return a report that says so where other names for scales would fix what metadata does not.

    Args:
        report: on what decides.
        subject: the target.
        selection: what was judged.
    """
    if report.exit_code != WRONG or subject.files.draft is not None or not _names(subject, report):
        return report
    cases = analyze(subject, selection).cases
    if not cases or not cases[0].view.method:
        return report
    narrow = selection.narrowed(cases)
    made, _ = planned_with_cases(subject, narrow, Options())
    helps = _tried(subject, made, narrow, Options(), cases).names
    return replace(report, notes=(*report.notes, HINT)) if helps else report


def block(subject: Subject) -> frozenset[str]:
    """Return the names of all tensors of the MTP block."""
    readings = subject.readings.values()
    return frozenset(name for reading in readings for name in reading.block.tensors)


# --- trials -----------------------------------------------------------------------------


class _Tried(NamedTuple):
    """What trials found.

    Attributes:
        names: the fewest renames that leave the fewest releases wrong that decide; none help: none.
        stays: modules that are wrong whatever the names.
    """

    names: Mapping[str, str]
    stays: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """Why no name helps, as far as that is known."""
        said = "no other names for scales of the MTP block make a release right that decides"
        shown = ", ".join(f"`{name}`" for name in self.stays[:_SHOWN])
        more = f" and {len(self.stays) - _SHOWN} more" if len(self.stays) > _SHOWN else ""
        return f"{said}: with each of them {shown}{more} cannot be loaded" if shown else said


def _tried(
    subject: Subject,
    made: Repair,
    selection: Selection,
    options: Options,
    cases: tuple[EngineCase, ...],
) -> _Tried:
    """Return what renames come to, each of them planned for."""
    if made.exit_code != WRONG or not cases or not cases[0].view.method:
        return _Tried({})
    deciding = selection.deciding(cases)
    if not deciding:
        return _Tried({})
    narrow = selection.narrowed(deciding)
    least: Mapping[str, str] = {}
    wrong, stays = _failing(made.checked), dict.fromkeys(_wrong(made.checked))
    for names in _names(subject, made.checked):
        tried, _ = planned_with_cases(renamed(subject, names), narrow, options)
        stays = dict.fromkeys(name for name in _wrong(tried.checked) if name in stays)
        helps = progress.improved(made.checked, tried.checked)
        if helps and (not least or _failing(tried.checked) < wrong):
            least, wrong = names, _failing(tried.checked)
        if helps and not wrong:
            break
    return _Tried(least, tuple(stays))


def _wrong(report: Report) -> Iterator[str]:
    """Yield the modules of the draft that are built otherwise than they are stored."""
    modules = (module for engine in report.engines for module in engine.modules)
    for module in modules:
        if module.agrees is False and module.decision.module.part == "draft":
            yield module.decision.module.name


def _names(subject: Subject, report: Report) -> list[dict[str, str]]:
    """Return renames that could help, the fewest first."""
    modules = by_module(block(subject))
    reports = [m for engine in report.engines for m in engine.modules]
    experts = {n for m in reports if m.decision.module.kind == "experts" for n in m.members}
    experts &= modules.keys()
    others = modules.keys() - experts
    return renames.candidates(subject.files.inventory, sorted(experts), sorted(others))


def _failing(report: Report) -> int:
    return sum(engine.outcome in FAILED for engine in report.engines)


# --- a repair with other names ------------------------------------------------------------


def _joined(
    made: Repair, found: renames.Renames, subject: Subject, source: Source, after: Repair
) -> Repair:
    """Return a repair of metadata with renames, and the index that follows them.

    Args:
        made: the repair of the files as they are.
        found: the renames.
        subject: the target.
        source: where it was read.
        after: the repair of the files with other names.
    """
    files = {**after.files, **_index(renamed(subject, found.names), source)}
    return replace(
        after,
        before=made.before,
        checked_before=made.checked_before,
        files=files,
        diff="".join(unified(old, new, name) for name, (old, new) in files.items()),
        renames=found,
    )


def _index(subject: Subject, source: Source) -> dict[str, tuple[bytes, bytes]]:
    """Return the index, old and new, where it calls tensors otherwise than their files will."""
    name = subject.files.listing.index
    if name is None:
        return {}
    old = source.read(name)
    new = renames.index(old, subject.files.checkpoint)
    return {} if new == old else {name: (old, new)}


def _renames(
    subject: Subject, names: Mapping[str, str], source: Source, made: Repair, options: Options
) -> renames.Renames:
    """Return the renames, if the files can have them.

    Raises:
        RefusedError: they cannot.
    """
    in_place = options.rename_in_place
    found = renames.of(names, subject.files.checkpoint, block(subject), in_place=in_place)
    if found.mixed and not in_place:
        raise _mixed(found, made)
    try:
        for file in found.files if in_place else ():
            renames.fitted(source.read_header(file)[0], names, file)
    except RefusedError as error:
        raise RefusedError(error.message, error.remedy, repair=made) from None
    return found


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
