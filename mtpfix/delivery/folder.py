"""A repair in the folder itself, or in a new folder that links to it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from mtpfix.changes.repair import Purpose, Repair
from mtpfix.checkpoint.source import LocalSource
from mtpfix.delivery import Delivered, guard
from mtpfix.grafts import leftovers, manifest, staging
from mtpfix.grafts.block import Block
from mtpfix.grafts.transfer import Watch
from mtpfix.repair import writing
from mtpfix.repair.writing import disk, renamed_weights
from mtpfix.repair.writing.weights import Addition
from mtpfix.targets import Reference


@dataclass(frozen=True, slots=True)
class Folder:
    """A place on this machine: the folder itself, or a new one.

    Attributes:
        output: the new folder, with links to the weights; it must not exist, or be empty. None:
            the folder itself is edited.
        backup: whether the old files are kept beside those that are edited.
        allow_partial: write also what leaves every release that decides as broken as it is.
        watch: what is told of the bytes of a block as they pass.
    """

    output: Path | None = None
    backup: bool = True
    allow_partial: bool = False
    watch: Watch = field(default_factory=Watch)

    def prepare(self, target: Reference, purpose: Purpose) -> Reference:
        """Put right what a killed run has left; see `Delivery.prepare`."""
        folder = target.folder
        if purpose == "graft":
            room = folder if self.output is None else self.output.resolve().parent
            disk.tidy(room)
            leftovers.put_right(room)
        elif self.output is None:
            disk.tidy(folder)
            renamed_weights.put_right(folder)
        return target

    def deliver(self, repair: Repair) -> Delivered:
        """Write a repair; see `Delivery.deliver`."""
        folder, output = Path(repair.target.name), self.output
        brought = repair.block is not None and bool(repair.block.tensors)
        changes = bool(repair.changes) or brought
        if changes or repair.refusal is not None or output is not None:
            guard.require_harmless(repair, allow_partial=self.allow_partial)
        done = Delivered(repair, changes and output is None, output, self.backup)
        if repair.block is not None and brought:
            self.watch.compared(repair.block.lineage)
            return self._with_block(done, folder, repair.block)
        if repair.block is not None and output is None:
            leftovers.clear(folder)
        if changes or output is not None:
            weights = renamed_weights.changes(repair.renames, LocalSource(folder), output)
            writing.put(folder, repair.files, output, backup=self.backup, weights=weights)
        return done

    def _with_block(self, done: Delivered, folder: Path, block: Block) -> Delivered:
        """Fetch a block beside its place, and put it there with all that names it."""
        output, shard, beside = self.output, block.shard, manifest.name_of(block.shard)
        read = {beside: None, **{name: old for name, (old, _) in done.repair.files.items()}}
        writing.check_place(folder, read, output)  # before the bytes come, not after
        room = folder if output is None else output.resolve().parent

        def unmoved() -> None:
            disk.check_unmoved(folder, {**read, shard: None})

        with staging.fetched(block, room, self.watch, unmoved) as (part, hashes, findings):
            files = {beside: (None, manifest.text(block, hashes)), **done.repair.files}
            addition = Addition(shard, part, block.interim)
            writing.put(folder, files, output, backup=self.backup, addition=addition)
            if output is None:
                leftovers.forget(folder)
        return replace(done, hashes=hashes, values=findings)
