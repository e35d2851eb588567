"""A checkpoint as changes would leave it, read and judged by the code that reads one on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from mtpfix.analysis import Judgement, judge
from mtpfix.checkpoint.proposed import Proposed
from mtpfix.checkpoint.source import READ_LIMIT, Source
from mtpfix.engines.base import EngineCase
from mtpfix.errors import UnknownError
from mtpfix.model import Edit, JsonFile
from mtpfix.repair import patch
from mtpfix.repair.plan import Options, Plan, nothing
from mtpfix.repair.stages import composed
from mtpfix.repair.verdicts import sharing
from mtpfix.selection import Selection
from mtpfix.subject import Subject, open_subject, patched, renamed


@dataclass(frozen=True)
class Change:
    """What would be different in a checkpoint; it knows nothing of where it will be written.

    Attributes:
        edits: edits of the metadata files.
        files: path -> new content of a file that no edit describes, such as a new index.
        shards: path of a new weight file -> its header, and the bytes of data behind it.
        renames: old -> new name of tensors.
        plan: what the edits come to, in terms of the list; None: they are of another kind.
    """

    edits: tuple[Edit, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    shards: Mapping[str, tuple[bytes, int]] = field(default_factory=dict)
    renames: Mapping[str, str] = field(default_factory=dict)
    plan: Plan | None = None


@dataclass(frozen=True)
class State:
    """A checkpoint as it is, or as changes would leave it.

    Attributes:
        source: the files as they are.
        subject: the checkpoint as it would be read.
        selection: for which releases it is judged.
        options: what may be changed.
        files: path -> content of every file that is new or changed.
        shards: as in `Change`.
        renames: as in `Change`.
        edits: all edits of the metadata files since they were last replaced as a whole.
        plan: what they come to.
        parent: the state that the last change was made of; None: nothing has changed.
        change: the last change.
    """

    source: Source
    subject: Subject
    selection: Selection
    options: Options = field(default_factory=Options)
    files: Mapping[str, bytes] = field(default_factory=dict)
    shards: Mapping[str, tuple[bytes, int]] = field(default_factory=dict)
    renames: Mapping[str, str] = field(default_factory=dict)
    edits: tuple[Edit, ...] = ()
    plan: Plan = field(default_factory=nothing)
    parent: State | None = None
    change: Change | None = None

    @cached_property
    def judgement(self) -> Judgement:
        """What the selected releases make of it."""
        return judge(self.subject, self.selection)

    @property
    def configs(self) -> Mapping[str, JsonFile]:
        """The metadata files, by name."""
        return self.subject.files.listing.configs

    @cached_property
    def sharing(self) -> tuple[EngineCase, ...]:
        """The cases of all engines that read the same list as the first.

        Raises:
            UnknownError: nothing was judged, or an engine that was asked for by name reads another
                list, which no single plan can change.
        """
        cases = self.judgement.required().cases
        shared = sharing(cases)
        left = {case.engine for case in cases}.difference(case.engine for case in shared)
        if any(map(self.selection.requires, left)):
            raise UnknownError(
                "the engines read different lists",
                "plan for one engine at a time with --engine",
            )
        return shared

    def read(self, name: str) -> bytes:
        """Return what a file holds, or would hold."""
        new = self.files.get(name)
        return self.source.read(name, limit=READ_LIMIT) if new is None else new

    def after(self, change: Change) -> State:
        """Return the checkpoint as a change would leave it."""
        new = patch.apply_all(change.edits, lambda name: self.configs[name].raw)
        files = {**self.files, **change.files, **new}
        shards = {**self.shards, **change.shards}
        if change.files or change.shards:
            subject = open_subject(Proposed(self.source, files, shards), self.selection.engines)
        else:
            pairs = {name: (self.configs[name].raw, raw) for name, raw in new.items()}
            subject = patched(self.subject, pairs) if pairs else self.subject
        if change.renames:
            subject = renamed(subject, change.renames)
        return replace(
            self,
            subject=subject,
            files=files,
            shards=shards,
            renames={**self.renames, **change.renames},
            edits=() if change.files else self._composed(change.edits),
            plan=self.plan if change.plan is None else self._with(change.plan),
            parent=self,
            change=change,
        )

    def narrowed(self, cases: tuple[EngineCase, ...]) -> State:
        """Return the state, judged for nothing but the releases and platforms of some cases."""
        return replace(self, selection=self.selection.narrowed(cases))

    def with_options(self, options: Options) -> State:
        """Return the state where other things may be changed."""
        return replace(self, options=options)

    def _composed(self, edits: tuple[Edit, ...]) -> tuple[Edit, ...]:
        """Return all edits since the files were replaced, as edits of the files of that time."""
        if not self.edits:
            return edits
        begin = self
        while begin.edits and begin.parent is not None:
            begin = begin.parent
        return composed(begin.configs, self.edits, edits)

    def _with(self, plan: Plan) -> Plan:
        copied = self.plan.metadata_copied or plan.metadata_copied
        return replace(plan, metadata_copied=copied)
