"""Other names for the scales of an MTP block, where only the names are wrong: found by trial.

What metadata alone can repair is repaired by metadata alone. Where something is left wrong, the
target is read as if scales had other names, and planned for again. The fewest renames count that
leave the fewest releases wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from mtpfix.analysis import analyze
from mtpfix.checkpoint.load import SINGLE
from mtpfix.checkpoint.precision import by_module
from mtpfix.checkpoint.source import Source
from mtpfix.engines.base import EngineCase
from mtpfix.errors import RefusedError
from mtpfix.model import FAILED, Report
from mtpfix.planning import Repair, planned_with_cases
from mtpfix.repair import progress, renames
from mtpfix.repair.diff import diff as unified
from mtpfix.repair.plan import Options
from mtpfix.selection import Scope, Selection
from mtpfix.subject import Subject, renamed

WRONG = 1
"""The exit code of a report in which something is wrong."""
HINT = (
    "the scales of the MTP block have names that no metadata fits: `mtpfix rewrite "
    "--rename-tensors` gives them others"
)


def planned(subject: Subject, source: Source, selection: Selection, options: Options) -> Repair:
    """Return the repair of a target that has been read, with other names where they are allowed.

    Args:
        subject: the target.
        source: where it was read.
        selection: for what it is planned.
        options: what may be changed.

    Raises:
        RefusedError: names would have to change in a file that holds the target model, too.
        MtpfixError: as for `planning.planned`.
    """
    made, cases = planned_with_cases(subject, selection, options)
    if subject.files.draft is not None:
        return made
    names = _fewest(subject, made, selection, options, cases)
    if not options.renames:
        return replace(made, renames_help=bool(names))
    after = made
    if names:
        after, _ = planned_with_cases(renamed(subject, names), selection, options)
    if names and progress.spoilt(made.before, after.after):
        names, after = {}, made
    if not names and made.exit_code == WRONG:
        said = "no other name for a scale of the MTP block makes a release that decides right"
        after = replace(made, notes=(*made.notes, said))
    found = renames.of(
        names, subject.files.checkpoint, block(subject), in_place=options.rename_in_place
    )
    if found.mixed and not found.in_place:
        raise _mixed(found, made)
    return _joined(made, found, subject, source, after)


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
    narrow = _narrow(selection, cases)
    made, _ = planned_with_cases(subject, narrow, Options())
    if made.exit_code != WRONG or not any(_trials(subject, made, narrow, Options())):
        return report
    return replace(report, notes=(*report.notes, HINT))


def block(subject: Subject) -> frozenset[str]:
    """Return the names of all tensors of the MTP block."""
    readings = subject.readings.values()
    return frozenset(name for reading in readings for name in reading.block.tensors)


# --- trials -----------------------------------------------------------------------------


def _fewest(
    subject: Subject,
    made: Repair,
    selection: Selection,
    options: Options,
    cases: tuple[EngineCase, ...],
) -> Mapping[str, str]:
    """Return the fewest renames that leave the fewest releases wrong that decide, or none."""
    if made.exit_code != WRONG or not cases or not cases[0].view.method:
        return {}
    narrow = _narrow(selection, selection.deciding(cases))
    least: Mapping[str, str] = {}
    wrong = _failing(made.checked)
    for names, tried in _trials(subject, made, narrow, options):
        if not least or _failing(tried.checked) < wrong:
            least, wrong = names, _failing(tried.checked)
        if not wrong:
            break
    return least


def _trials(
    subject: Subject, made: Repair, selection: Selection, options: Options
) -> Iterator[tuple[Mapping[str, str], Repair]]:
    """Yield renames that fix something, the fewest first, and the repair with them."""
    for names in _names(subject, made.checked):
        tried, _ = planned_with_cases(renamed(subject, names), selection, options)
        if progress.improved(made.checked, tried.checked):
            yield names, tried


def _names(subject: Subject, report: Report) -> list[dict[str, str]]:
    """Return renames that could help, the fewest first."""
    modules = by_module(block(subject))
    reports = [m for engine in report.engines for m in engine.modules]
    experts = {n for m in reports if m.decision.module.kind == "experts" for n in m.members}
    experts &= modules.keys()
    others = modules.keys() - experts
    return renames.candidates(subject.files.inventory, sorted(experts), sorted(others))


def _narrow(selection: Selection, deciding: Iterable[EngineCase]) -> Selection:
    """Return a selection of nothing but what decides: trials ask no more."""
    cases = tuple(deciding)
    engines = tuple(
        (engine, tuple(dict.fromkeys(c.release for c in cases if c.engine is engine)))
        for engine in selection.engines
    )
    scope = Scope(engines, tuple(dict.fromkeys(case.platform for case in cases)))
    return replace(selection, planned=scope, decisive=scope)


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
    """Return the index, old and new, where it calls tensors otherwise than their files."""
    listing = subject.files.listing
    if listing.layout != "index":
        return {}
    stem = SINGLE.partition(".")[0]
    if any(file.startswith("consolidated") for file in listing.shards.values()):
        stem = "consolidated"
    name = f"{stem}.safetensors.index.json"
    old = source.read(name)
    new = renames.index(old, subject.files.checkpoint)
    return {} if new == old else {name: (old, new)}


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
