"""The index of the shards, corrected before the metadata is planned for what it then names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from mtpfix.analysis import Judgement, add_findings, analyze, judge
from mtpfix.checkpoint.load import layout_of, listing, open_shards, weight_map
from mtpfix.checkpoint.precision import split_name
from mtpfix.checkpoint.proposed import Proposed
from mtpfix.checkpoint.remembered import Remembered
from mtpfix.checkpoint.source import READ_LIMIT, Source
from mtpfix.checkpoint.strict_json import part_of, shown
from mtpfix.engines.base import Engine
from mtpfix.engines.opening import Reading
from mtpfix.engines.registry import DEFAULT, engine
from mtpfix.errors import MtpfixError, TargetError
from mtpfix.model import Checkpoint, EngineReport, Finding, Fix, Report, Where
from mtpfix.repair import patch
from mtpfix.repair.index import Index, IndexRepair, repair
from mtpfix.rules.presence import LOST
from mtpfix.selection import Selection
from mtpfix.subject import Subject, config_of, open_subject

_ABOUT = frozenset({"MTP004", "MTP005", "MTP402"})
"""Findings about files and the index."""


def attach(report: Report, source: Source, subject: Subject, selection: Selection) -> Report:
    """Return a report whose findings about the index have the edits that fix them, or the reason.

    Args:
        report: on what decides.
        source: the target.
        subject: the target, read.
        selection: what was judged.
    """
    if not any(finding.code in _ABOUT for finding in report.findings):
        return report
    found = _settled(Remembered(source), subject, selection, report)
    return _with_fixes(report, found.repair, brings=_brings(report, found, selection))


def _brings(report: Report, found: Correction, selection: Selection) -> bool:
    """Return whether weights that were thought lost are there once the index names them."""
    lost = any(finding.code in LOST for finding in report.findings)
    return lost and bool(found.files) and not _loses(found.after, selection)


def _loses(subject: Subject, selection: Selection) -> bool:
    """Return whether weights of the MTP block are not there, for what decides."""
    return any(finding.code in LOST for finding in analyze(subject, selection).report.findings)


# --- from the files to a corrected index ------------------------------------------------


@dataclass(frozen=True, slots=True)
class Correction:
    """A target and its index.

    Attributes:
        before: the target as it is read now; without the files that are not there.
        after: as it would be read.
        repair: what is corrected.
        files: the index, its old and its new bytes; empty where nothing is corrected.
        absent: files that it names and that are not there.
    """

    before: Subject
    after: Subject
    repair: IndexRepair = field(default_factory=IndexRepair)
    files: Mapping[str, tuple[bytes, bytes]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()

    @property
    def content(self) -> Mapping[str, bytes]:
        """The index as it would be; empty where nothing is corrected."""
        return {name: new for name, (_, new) in self.files.items()}

    def judged(self, selection: Selection) -> Judgement:
        """Return what is judged of the target as it is."""
        found = judge(self.before, selection)
        engines = {case.engine.name: case.engine for case in found.cases}
        return found.mapped(lambda report: self._failing(report, engines))

    def _failing(self, report: Report, engines: Mapping[str, Engine]) -> Report:
        """Return a report in which releases fail that need every file that the index names."""
        if not self.absent:
            return report

        def failing(each: EngineReport) -> EngineReport:
            error = engines[each.engine].absent_file_error(each.version)
            return each if error is None else replace(each, outcome="load_error", error=error)

        index = self.repair.file
        failed = replace(report, engines=tuple(map(failing, report.engines)))
        said = f"{shown(index)} names {shown(self.absent[0])}, which is not there"
        named = Finding("MTP402", "error", "run", said, where=Where(index, ""))
        return add_findings(failed, [named])

    def explained(self, report: Report) -> Report:
        """Return a report whose findings about files say what the index can do for them."""
        return _with_fixes(report, self.repair)


def read(source: Remembered, selection: Selection) -> Correction:
    """Return a target, with its index corrected where that is wrong about the MTP block."""
    try:
        subject = open_subject(source, selection.engines)
    except TargetError as error:
        return _without_files(source, selection, error)
    if not subject.files.checkpoint.problems:
        return Correction(subject, subject)
    return _settled(source, subject, selection, None)


def _settled(
    source: Remembered, subject: Subject, selection: Selection, report: Report | None
) -> Correction:
    """Return the correction for a target whose files are all there."""
    checkpoint, readings = subject.files.checkpoint, subject.readings.values()
    if not _roots(readings) or not _is_wrong(checkpoint, _roots(readings)):
        return Correction(subject, subject)
    disagree = any(problem.kind == "header_disagrees" for problem in checkpoint.problems)
    if disagree and report is None:
        report = analyze(subject, selection).report
    engine = selection.engines[0].title
    index = _index(source, _with_all_headers(source, checkpoint), readings, report, engine)
    made = repair(index)
    if made.lost and _loses(_opened(source, _files(source, made), selection), selection):
        made = repair(replace(index, keep=made.lost))  # the names of what must be brought back
    files = _files(source, made)
    after = _opened(source, files, selection) if files else subject
    return Correction(subject, after, made, files)


def _with_all_headers(source: Source, checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint with the headers of all shards, where that costs no requests."""
    found = replace(checkpoint.listing, headers=checkpoint.headers)
    if found.target.kind == "hub":
        return checkpoint
    try:
        return open_shards(source, found, found.shards.keys())
    except MtpfixError:  # of a shard without MTP tensors, which nobody asked about
        return checkpoint


def _without_files(source: Remembered, selection: Selection, error: TargetError) -> Correction:
    """Return the correction for a target whose index names files that are not there.

    Raises:
        TargetError: not all of their tensors are elsewhere, or of the MTP block.
    """
    found = listing(source, need_all=False)
    usable = layout_of(found.files).used
    absent = tuple(sorted(set(found.shards.values()).difference(usable)))
    there = {name: shard for name, shard in found.shards.items() if shard not in absent}
    if not absent or not there or found.index is None:
        raise error
    config = config_of(found)
    engines = selection.engines or (engine(DEFAULT),)
    readings = [each.read(found, config) for each in engines]
    if not _roots(readings):
        raise error
    checkpoint = open_shards(source, found, there.keys())
    made = repair(_index(source, checkpoint, readings, None, engines[0].title))
    files = _files(source, made)
    if not files or not set(made.shards(found.shards).values()) <= set(usable):
        raise error
    rest = json.dumps({"weight_map": there}).encode()
    before = open_subject(Proposed(source, {found.index: rest}), selection.engines)
    return Correction(before, _opened(source, files, selection), made, files, absent)


def _roots(readings: Iterable[Reading]) -> tuple[str, ...]:
    """Return what names of MTP tensors begin with; empty where that is not known."""
    return tuple(dict.fromkeys(root for each in readings for root in each.block.roots or ()))


def _is_wrong(checkpoint: Checkpoint, roots: tuple[str, ...]) -> bool:
    """Return whether a problem of the files is one of the MTP block."""
    return any(
        problem.kind == "shadowed_index" or any(name.startswith(roots) for name in problem.tensors)
        for problem in checkpoint.problems
    )


def _index(
    source: Source,
    checkpoint: Checkpoint,
    readings: Iterable[Reading],
    report: Report | None,
    engine: str,
) -> Index:
    """Return the index of a checkpoint, with all that was read of its files."""
    found = checkpoint.listing
    table, total = found.shards, None
    if found.index is not None:
        table = weight_map(source, found.index)
        metadata = part_of(source.read(found.index, limit=READ_LIMIT), "metadata", found.index)
        total = metadata.get("total_size") if isinstance(metadata, dict) else None
    index = Index(
        file=found.index or "",
        shards=table,
        total=total,
        usable=layout_of(found.files).used,
        headers={**checkpoint.headers, **found.strays},
        roots=_roots(readings),
        shared=frozenset(name for each in readings for name in each.block.alone),
        engine=engine,
    )
    return index if report is None else replace(index, unfit=_unfit(report, table))


def _unfit(report: Report, table: Mapping[str, str]) -> frozenset[str]:
    """Return unnamed tensors that the draft has no place for, and modules that they spoil."""
    named = {split_name(name)[0] for name in table}
    modules = (module for each in report.engines for module in each.modules)
    first = {m.tensor for m in modules if m.agrees is False and m.tensor and m.tensor not in table}
    spoilt = {split_name(name)[0] for name in first} & named
    raising = (f for f in report.findings if f.code == "MTP008" and f.severity == "error")
    return frozenset({*spoilt, *(name for finding in raising for name in finding.modules)})


def _files(source: Source, made: IndexRepair) -> dict[str, tuple[bytes, bytes]]:
    if not made.edits:
        return {}
    old = source.read(made.file, limit=READ_LIMIT)
    return {made.file: (old, patch.apply(old, made.edits))}


def _opened(
    source: Source, files: Mapping[str, tuple[bytes, bytes]], selection: Selection
) -> Subject:
    """Return the target as it would be read with other files."""
    new = {name: new for name, (_, new) in files.items()}
    return open_subject(Proposed(source, new), selection.engines)


# --- what is said of it -----------------------------------------------------------------


def _with_fixes(report: Report, made: IndexRepair, *, brings: bool = False) -> Report:
    """Return a report whose findings about files say what the index can do for them.

    Args:
        report: on the files as they are, or would be.
        made: what is corrected in the index.
        brings: whether weights that were thought lost are there then.
    """
    fix = Fix(made.title, "safe", made.edits)
    findings = tuple(
        replace(each, repair=fix) if brings and each.code in LOST else _with_fix(each, made, fix)
        for each in report.findings
    )
    return replace(report, findings=findings)


def _with_fix(finding: Finding, made: IndexRepair, fix: Fix) -> Finding:
    if finding.code not in _ABOUT or finding.where is None:
        return finding
    file = finding.where.file
    refusal = next((each for each in made.refused if each.file == file), None)
    if refusal is not None:
        said = f"no edit of the index is right, for {refusal.reason}: {refusal.remedy}"
        return replace(finding, remedy=said)
    if file in made.about:
        return replace(finding, repair=fix)
    return finding
