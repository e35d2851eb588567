"""The shard that a graft adds: its header, where each tensor goes, and what is fetched. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from mtpfix.checkpoint.header import PREFIX
from mtpfix.grafts.pieces import Piece

NAME = "model-mtp.safetensors"
"""The new file; a number goes before the end of the name where there is one already."""
MANIFEST = ".manifest.json"
"""Ends the name of the file beside it that says where its tensors came from."""
UNIT = 1 << 26
"""Bytes that one request fetches, about; a tensor that is larger has one of its own."""
_ALIGNED = 8
"""The header ends at a multiple of this, so that the data begin at one."""


@dataclass(frozen=True)
class Layout:
    """A safetensors file that is yet to be written.

    Attributes:
        pieces: its tensors, in the order of their data.
        metadata: `__metadata__` of its header.
    """

    pieces: tuple[Piece, ...]
    metadata: Mapping[str, str]

    @cached_property
    def header(self) -> bytes:
        """The header, without the 8 bytes in front of it."""
        table: dict[str, object] = {"__metadata__": dict(self.metadata)}
        for piece, end in zip(self.pieces, self._ends, strict=True):
            table[piece.name] = {
                "dtype": piece.dtype,
                "shape": list(piece.shape),
                "data_offsets": [end - piece.size, end],
            }
        text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
        return text + b" " * (-len(text) % _ALIGNED)

    @cached_property
    def data_size(self) -> int:
        """Bytes of all tensors."""
        return self._ends[-1] if self._ends else 0

    @property
    def head(self) -> bytes:
        """All that stands before the data."""
        return len(self.header).to_bytes(PREFIX, "little") + self.header

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.head) + self.data_size

    @property
    def fetched(self) -> int:
        """Bytes that are read in the base."""
        return sum(piece.fetched for piece in self.pieces)

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(piece.size for piece in self.pieces))

    def units(self) -> Iterator[Unit]:
        """Yield what is fetched at once: neighbours in the base, up to `UNIT` bytes of them."""
        start, begin = len(self.head), 0
        run: list[Piece] = []
        for piece, end in zip(self.pieces, self._ends, strict=True):
            if run and not _goes_on(run, piece):
                yield Unit(tuple(run), start + begin)
                run, begin = [], end - piece.size
            run.append(piece)
        if run:
            yield Unit(tuple(run), start + begin)


@dataclass(frozen=True)
class Unit:
    """Tensors that lie side by side in the base, and in the new file.

    Attributes:
        pieces: the tensors; a converted one is alone.
        begin: the byte of the new file at which the first goes.
    """

    pieces: Sequence[Piece]
    begin: int

    @property
    def begin_in_base(self) -> int:
        """The byte of the base's file at which the first begins."""
        return self.pieces[0].stored.begin

    @property
    def end_in_base(self) -> int:
        """The byte of the base's file at which the last ends."""
        return self.pieces[-1].stored.end

    def places(self) -> Iterator[tuple[Piece, int]]:
        """Yield each tensor with the byte of the new file at which it begins."""
        begin = self.begin
        for piece in self.pieces:
            yield piece, begin
            begin += piece.size


def _goes_on(run: Sequence[Piece], piece: Piece) -> bool:
    """Return whether a tensor is fetched by the request that fetches those before it."""
    first, last = run[0].stored, run[-1].stored
    whole = run[-1].scale is None and piece.scale is None
    near = last.shard == piece.stored.shard and last.end == piece.stored.begin
    return whole and near and piece.stored.end - first.begin <= UNIT
