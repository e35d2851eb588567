"""A repair of one target: what changes, what is judged of it before and after, and what is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from mtpfix.analysis import Judgement
from mtpfix.checkpoint.source import Source
from mtpfix.errors import RefusedError
from mtpfix.model import Edit, Report, Target
from mtpfix.repair.diff import diff as unified
from mtpfix.repair.index import INDEX, IndexRepair
from mtpfix.repair.plan import Plan, nothing
from mtpfix.repair.renames import Renames
from mtpfix.selection import Selection

if TYPE_CHECKING:
    from mtpfix.grafts.block import Block
    from mtpfix.grafts.pieces import Piece

Purpose = Literal["rewrite", "graft", "graft --drop"]
"""What a user types after `mtpfix` for a repair of this kind."""


@dataclass(frozen=True, slots=True)
class Repair:
    """A planned repair of one target; nothing of it is written.

    Attributes:
        source: the files of the target.
        selection: for which releases and platforms it is planned, and which decide.
        old: what is judged of the files as they are.
        new: what is judged of the files as they would be; proof of the plan.
        plan: what changes in the metadata, and what is left.
        files: path -> bytes as read (None: a new file), and the new bytes; only files that change,
            in the order in which they are written.
        purpose: the kind of repair.
        block: the MTP block that a graft brings; None for other repairs.
        index: what is corrected in the index of the shards.
        renames: tensors that get other names.
        refusal: why nothing may be written, or None.
        notes: what else a person should know.
        repair_trunk_mends: the modules of what decides that `Options.repair_trunk` would fix.
        renames_help: whether `Options.rename_tensors` would fix more of what decides.
        alone_helps: the engine that decides, where a plan for it alone would fix more; or empty.
        named: modules that findings name, those included that a user does not want to see.
    """

    source: Source = field(repr=False, compare=False)
    selection: Selection
    old: Judgement
    new: Judgement
    plan: Plan = field(default_factory=nothing)
    files: Mapping[str, tuple[bytes | None, bytes]] = field(default_factory=dict)
    purpose: Purpose = "rewrite"
    block: Block | None = None
    index: IndexRepair = field(default_factory=IndexRepair)
    renames: Renames = field(default_factory=Renames)
    refusal: RefusedError | None = None
    notes: tuple[str, ...] = ()
    repair_trunk_mends: tuple[str, ...] = ()
    renames_help: bool = False
    alone_helps: str = ""
    named: frozenset[str] | None = None

    @property
    def target(self) -> Target:
        """What is repaired."""
        return self.old.planned.target

    @property
    def before(self) -> Report:
        """The report on the files as they are, for all releases that it is planned for."""
        return self.old.planned

    @property
    def after(self) -> Report:
        """The report on the files as they would be, for all releases that it is planned for."""
        return self.new.planned

    @property
    def checked_before(self) -> Report:
        """What `check` says of the files as they are, for what decides."""
        return self.old.gating

    @property
    def checked(self) -> Report:
        """What `check` says of the files as they would be, for what decides."""
        return self.new.gating

    @property
    def tensors(self) -> tuple[Piece, ...]:
        """The tensors that a graft brings."""
        return () if self.block is None else self.block.tensors

    @property
    def edits(self) -> tuple[Edit, ...]:
        """What is changed in the files: in the metadata, and in the index."""
        return (*self.plan.edits, *self.index.edits)

    @property
    def changes(self) -> tuple[str, ...]:
        """The files that change, weight files included."""
        return (*self.renames.files, *self.files)

    @property
    def metadata(self) -> Mapping[str, tuple[bytes, bytes]]:
        """Path -> old and new bytes of the JSON files that a diff shows: a new index is long."""
        brought = self.block is not None and bool(self.block.layout.pieces)
        return {
            name: (old or b"", new)
            for name, (old, new) in self.files.items()
            if not (brought and name == INDEX)
        }

    @property
    def diff(self) -> str:
        """The change as a unified diff; empty when nothing changes."""
        return "".join(unified(old, new, name) for name, (old, new) in self.metadata.items())

    @property
    def exit_code(self) -> int:
        """That of `check` for the releases and platforms that decide, after the edits."""
        return self.checked.exit_code

    @property
    def is_useless(self) -> bool:
        """Whether something that decides is wrong, and no release of it would be better after."""
        return self.exit_code == RefusedError.exit_code and not self.new.is_better(self.old)

    @property
    def refused(self) -> str | None:
        """Why no edit is offered although a release that decides is wrong, or None."""
        if self.refusal is not None:
            return self.refusal.message
        return self.plan.refused if self.exit_code else None

    def counted(self, count: Callable[[Report], Report]) -> Repair:
        """Return the repair with reports in which only the findings are that count."""
        blamed = (name for finding in self.checked.findings for name in finding.modules)
        return replace(
            self, old=self.old.mapped(count), new=self.new.mapped(count), named=frozenset(blamed)
        )
