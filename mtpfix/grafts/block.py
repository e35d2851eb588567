"""What a graft brings: the tensors, the shard that they come in, and what the base is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mtpfix.checkpoint.remembered import Remembered
from mtpfix.grafts.attempts import Attempt, Target
from mtpfix.grafts.donor import Donor
from mtpfix.grafts.layout import Layout
from mtpfix.grafts.lineage import Lineage
from mtpfix.grafts.pieces import Piece


@dataclass(frozen=True)
class Block:
    """An MTP block that is brought back, or would be.

    Attributes:
        source: the files of the target.
        held: the target as it is.
        donor: the base.
        attempt: how the block is brought.
        layout: the new shard; without tensors, the target has its block already.
        shard: its name.
        lineage: what the base is to the target.
        skipped: tensors of the block that the target has already.
        repeated: tensors that are left out: the target has the same bytes elsewhere.
        interim: new file -> what it holds until the shard is there: what is true without it.
    """

    source: Remembered
    held: Target
    donor: Donor
    attempt: Attempt
    layout: Layout
    shard: str
    lineage: Lineage
    skipped: tuple[str, ...]
    repeated: tuple[str, ...] = ()
    interim: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def tensors(self) -> tuple[Piece, ...]:
        """The tensors that are brought."""
        return self.layout.pieces

    @property
    def whole_file(self) -> str | None:
        """The file of the base that is the block and nothing else, byte for byte; or None."""
        shards = {piece.shard for piece in self.attempt.pieces}
        as_it_is = all(piece.name == piece.source for piece in self.attempt.pieces)
        if len(shards) != 1 or not as_it_is or any(p.scale for p in self.attempt.pieces):
            return None
        shard = shards.pop()
        held = self.donor.checkpoint.headers[shard].keys()
        return shard if held == {piece.name for piece in self.attempt.pieces} else None
