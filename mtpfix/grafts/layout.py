"""The shard that a graft adds: its header, where each tensor goes, and what is fetched. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from mtpfix.checkpoint.header import PREFIX
from mtpfix.grafts.pieces import Piece, Stored

NAME = "model-mtp.safetensors"
"""The new file; a number goes before the end of the name where there is one already."""
MANIFEST = ".manifest.json"
"""Ends the name of the file beside it that says where its tensors came from."""
UNIT = 1 << 26
"""Bytes that one request fetches, about; a tensor that is larger has one of its own."""
WASTE = 100
"""One byte in so many may lie between those that are wanted: that saves requests."""
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

    def units(self, there: Mapping[str, int] | None = None) -> Iterator[Unit]:
        """Yield what is fetched at once.

        Args:
            there: tensor -> how many bytes of it an earlier run has fetched; None: nothing is.
        """
        parts: dict[str, Part] = {}
        for piece, end in zip(self.pieces, self._ends, strict=True):
            had = (there or {}).get(piece.name)
            if had != piece.size:
                rest = piece.stored._replace(begin=piece.stored.begin + (had or 0))
                parts[rest.name] = Part(piece, len(self.head) + end - piece.size, rest)
        for run in runs(part.rest for part in parts.values()):
            yield Unit(tuple(parts[each.name] for each in run))


class Part(NamedTuple):
    """A tensor on its way.

    Attributes:
        piece: the tensor.
        begin: the byte of the new file at which it begins.
        rest: what is fetched of it: all, or its end.
    """

    piece: Piece
    begin: int
    rest: Stored


@dataclass(frozen=True)
class Unit:
    """Tensors that one request fetches, in the order of the base."""

    parts: Sequence[Part]

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The tensors."""
        return tuple(part.piece for part in self.parts)

    @property
    def shard(self) -> str:
        """The file of the base that they lie in."""
        return self.parts[0].rest.shard

    @property
    def begin_in_base(self) -> int:
        """The byte of the base's file at which the first begins."""
        return self.parts[0].rest.begin

    @property
    def end_in_base(self) -> int:
        """The byte of the base's file at which the last ends."""
        return self.parts[-1].rest.end


def runs(tensors: Iterable[Stored]) -> Iterator[list[Stored]]:
    """Yield what one request each fetches: tensors near each other, up to `UNIT` bytes of them."""
    run: list[Stored] = []
    held = 0
    for each in sorted(tensors, key=lambda stored: (stored.shard, stored.begin, stored.end)):
        if run and not _goes_on(run[0], held, each):
            yield run
            run, held = [], 0
        run.append(each)
        held += each.end - each.begin
    if run:
        yield run


def _goes_on(first: Stored, held: int, each: Stored) -> bool:
    """Return whether a tensor is fetched by the request that fetches `held` bytes before it."""
    span, held = each.end - first.begin, held + each.end - each.begin
    return first.shard == each.shard and span <= UNIT and (span - held) * WASTE <= held
