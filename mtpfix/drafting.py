"""The call that makes a draft folder: planned, judged, written."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mtpfix.analysis import judge
from mtpfix.checkpoint.load import CONFIG, CONFIG_LIMIT
from mtpfix.checkpoint.remembered import Remembered
from mtpfix.drafts.choice import Choice, choose, is_right
from mtpfix.drafts.folder import DraftFolder, made
from mtpfix.engines.base import DraftFlags, Engine, EngineCase
from mtpfix.errors import RefusedError, UnknownError, UsageError
from mtpfix.grafts import leftovers, staging
from mtpfix.grafts.layout import NAME
from mtpfix.grafts.transfer import Watch
from mtpfix.model import Target
from mtpfix.patterns import budget
from mtpfix.repair.writing import disk, new_folder
from mtpfix.repair.writing.weights import Addition
from mtpfix.selection import Selection
from mtpfix.subject import open_subject
from mtpfix.targets import Reference

PLACE = "DIR"
"""Stands for the folder where none is named."""


@dataclass(frozen=True)
class Drafted:
    """A draft folder, or why there is none.

    Attributes:
        target: what was read.
        selection: for which releases it is planned, and which decide.
        releases: the releases that decide.
        before: the exit code of `check` for them, as the files are.
        after: the same for a server that takes the folder.
        folder: what it holds; None: none is needed, or none helps.
        choice: its metadata.
        flags: what the server is told; None as for `folder`.
        environment: variables that do the same without a folder; empty: none do.
        needed: whether the draft is wrong as the files are.
        output: where it was written; None: it was not.
    """

    target: Target
    selection: Selection
    releases: tuple[str, ...]
    before: int
    after: int
    needed: bool
    folder: DraftFolder | None = None
    choice: Choice | None = None
    flags: DraftFlags | None = None
    environment: Mapping[str, str] | None = None
    output: Path | None = None

    @property
    def exit_code(self) -> int:
        """0 if the draft is right then, and the target model, for what decides."""
        return self.before if self.folder is None else self.after

    @property
    def engine(self) -> Engine:
        """The engine that takes the folder."""
        return self.selection.engines[0]


def draft_folder_of(
    target: Reference, selection: Selection, output: Path | None, watch: Watch
) -> Drafted:
    """Return a folder for `--speculative-draft-model-path` of SGLang, from which the draft loads.

    The draft is built by the metadata of that folder alone. Where the MTP block is unquantized it
    has none; else it has a list of its own. Weights of a folder are linked; of a repo only the
    bytes of the MTP block are fetched.

    Args:
        target: the checkpoint.
        selection: what it is planned for, and what must be right; of one engine.
        output: the folder; it must not exist, or be empty. None: nothing is written.
        watch: what is told of the bytes as they pass.

    Raises:
        UsageError: no engine that takes such a folder is asked, more than one is, or `output` is
            no place for a folder.
        UnknownError: the family or the method is not covered.
        WriteError: the folder could not be made.
        MtpfixError: the target cannot be read.
    """
    only_one(selection.engines)
    source = Remembered(target.source)
    apart = Path(source.target().name) if source.target().kind == "local" else None
    if output is not None:
        with disk.explained(f"cannot make {output}"):
            new_folder.check_new(output, apart)
    planned = _planned(source, selection, shlex.quote(str(output or PLACE)))
    if output is None or planned.folder is None:
        return planned
    _put(planned.folder, source, output, apart, watch)
    return replace(planned, output=output)


def only_one(engines: Sequence[Engine]) -> None:
    """Refuse anything but one engine that takes a draft folder."""
    if not any(engine.takes_draft_folder for engine in engines):
        raise UsageError(
            f"{engines[0].title} takes no draft folder", "ask for SGLang: --engine sglang"
        )
    if len(engines) > 1:
        titles = " and ".join(engine.title for engine in engines)
        raise UsageError(f"{titles} take different flags", "ask for one engine at a time")


@budget.shared()
def _planned(source: Remembered, selection: Selection, place: str) -> Drafted:
    """Return the folder for a target, and what it makes right."""
    subject = open_subject(source, selection.engines)
    engine = selection.engines[0]
    judged = judge(subject, selection).required()
    cases, target = judged.cases, subject.files.listing.target
    deciding = selection.deciding(cases) if cases else ()
    releases = tuple(dict.fromkeys(case.release for case in deciding))
    before = judged.gating.exit_code
    needed = not all(is_right(case, case.view) for case in deciding)
    none = Drafted(target, selection, releases, before, before, needed)
    configs = subject.files.listing.configs
    choice = choose(cases, deciding, configs) if needed else None
    if choice is None:
        return none
    block = subject.readings[engine].block
    starts = None
    if target.kind == "hub":
        found = subject.files.listing.shards
        shards = {found[name] for name in block.tensors if name in found}
        starts = {shard: source.data_start(shard) for shard in shards}
    return replace(
        none,
        after=_exit_code(deciding),
        folder=made(subject.files.checkpoint, block, choice.files, starts),
        choice=choice,
        flags=engine.draft_flags(place, subject.openings[engine].require().family),
        environment=engine.environment(deciding),
    )


def _exit_code(deciding: Sequence[EngineCase]) -> int:
    """Return the exit code of a server that takes the folder, for what decides."""
    if any(map(_target_fails, deciding)):
        return RefusedError.exit_code
    assumed = any(case.is_newer for case in deciding)
    return UnknownError.exit_code if assumed else 0


def _target_fails(case: EngineCase) -> bool:
    """Return whether a module of the target model is wrong, which no draft folder changes."""
    return any(report.agrees is False for report in case.part(case.view, "trunk"))


def _put(
    folder: DraftFolder, source: Remembered, output: Path, apart: Path | None, watch: Watch
) -> None:
    """Make the folder."""
    files = dict(folder.files)
    linked: dict[str, Path] = {}
    if apart is not None:
        linked = {name: apart / name for name in folder.shards}
    for name in folder.copies:
        if apart is not None and (apart / name).is_symlink():  # whatever it leads to stays there
            linked[name] = apart / name
        else:
            files[name] = source.read(name, limit=CONFIG_LIMIT)
    if apart is not None:
        read = {CONFIG: source.read(CONFIG)}

        def unmoved() -> None:
            disk.check_unmoved(apart, read)

        new_folder.assemble(output, files, linked, apart=apart, check=unmoved)
        return
    assert folder.layout is not None  # noqa: S101 - a repo has no files to link
    room = output.resolve().parent
    disk.tidy(room)
    leftovers.put_right(room)
    order = staging.Order(source, source.target(), folder.layout, NAME)
    with staging.received(order, room, watch) as arrived:
        addition = Addition(NAME, arrived.part)
        new_folder.assemble(output, files, {}, addition=addition)
