"""The tensors of a grafted block: where each lies in the base, and what it becomes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, NamedTuple

from mtpfix.checkpoint.header import BITS
from mtpfix.checkpoint.inventory import FLOATS
from mtpfix.checkpoint.precision import joined_name, split_name
from mtpfix.errors import RefusedError
from mtpfix.model import Checkpoint, Tensor

Conversion = Literal["copy", "rename", "dequantize"]
"""What is done to a tensor: its bytes are copied, also under another name, or made BF16."""

SCALES = ("weight_scale_inv", "weight_scale", "scale", "_scale_inv", "_scale")
"""Suffixes of the scales of FP8 codes; the last two stand beside stacked experts."""
FP8 = frozenset({"F8_E4M3", "F8_E5M2"})
"""Dtypes of FP8 codes that can be made BF16."""
BYTES = frozenset({"I8", "U8"})
"""Dtypes under which two codes of MXFP4 share a byte."""
_POWERS = frozenset({"F8_E8M0", "U8"})
"""Dtypes of their scales, which are powers of two."""
_GROUP = 32
"""Values that share one."""


class Stored(NamedTuple):
    """A tensor in a file of the base."""

    name: str
    shard: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    """First byte in the file."""
    end: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A tensor of the new shard.

    Attributes:
        name: in the target.
        stored: what it is made of.
        scale: the scales of FP8 or MXFP4 codes that become BF16; None: the bytes are copied.
        form: the shape that the same bytes have in the new shard; None: that of the base.
        kind: the dtype that the same bytes have there; None: that of the base.
    """

    name: str
    stored: Stored
    scale: Stored | None = None
    form: tuple[int, ...] | None = None
    kind: str | None = None

    @property
    def source(self) -> str:
        """Its name in the base."""
        return self.stored.name

    @property
    def shard(self) -> str:
        """The file of the base that it lies in."""
        return self.stored.shard

    @property
    def dtype(self) -> str:
        """Its dtype in the new shard, as headers spell it."""
        return (self.kind or self.stored.dtype) if self.scale is None else "BF16"

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        if self.scale is not None:
            return values_shape(self.stored)
        return self.stored.shape if self.form is None else self.form

    @property
    def size(self) -> int:
        """Its bytes in the new shard."""
        return BITS[self.dtype] * prod(self.shape) // 8

    @property
    def fetched(self) -> int:
        """The bytes that are read for it in the base."""
        read = (self.stored,) if self.scale is None else (self.stored, self.scale)
        return sum(each.end - each.begin for each in read)

    @property
    def conversion(self) -> Conversion:
        """What is done to it."""
        if self.scale is not None:
            return "dequantize"
        same = split_name(self.name)[1] == split_name(self.source)[1]
        return "copy" if same else "rename"


def values_shape(codes: Stored) -> tuple[int, ...]:
    """Return the shape of the values of FP8 or MXFP4 codes."""
    packed = codes.dtype in BYTES
    return (*codes.shape[:-1], 2 * codes.shape[-1]) if packed else codes.shape


def stored(name: str, checkpoint: Checkpoint, starts: Mapping[str, int]) -> Stored:
    """Return where a tensor lies.

    Args:
        name: the tensor; its shard has been opened.
        checkpoint: the base.
        starts: shard -> the byte at which its data begin.
    """
    shard = checkpoint.listing.shards[name]
    tensor: Tensor = checkpoint.headers[shard][name]
    start = starts[shard]
    return Stored(name, shard, tensor.dtype, tensor.shape, start + tensor.begin, start + tensor.end)


def moved(name: str, theirs: Sequence[str], ours: Sequence[str]) -> str:
    """Return what a tensor of the base is called in the target.

    Args:
        name: in the base.
        theirs: beginnings of the names of the block's tensors there.
        ours: the same in the target, in the same order.
    """
    for old, new in zip(theirs, ours, strict=False):
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def as_it_is(block: Iterable[tuple[str, Stored]]) -> tuple[Piece, ...]:
    """Return the block with every byte as it is in the base.

    Args:
        block: name in the target, and what the base has.
    """
    return tuple(Piece(name, each) for name, each in block)


def rescaled(pieces: Iterable[Piece], suffix: str, *, spread: bool = False) -> tuple[Piece, ...]:
    """Return the block with its FP8 scales under the name that the target's method loads.

    Args:
        pieces: the block as it is.
        suffix: for example `weight_scale`.
        spread: scales of blocks have a dimension for each side of a block, as ModelOpt has them.
    """

    def changed(piece: Piece) -> Piece:
        module, last = split_name(piece.name)
        if last not in SCALES:
            return piece
        mine = suffix.removeprefix("weight") if last.startswith("_") else suffix
        form: tuple[int, ...] | None = None
        if spread:
            form = tuple(side for size in piece.stored.shape for side in (size, 1))
        return Piece(joined_name(module, mine), piece.stored, form=form)

    return tuple(map(changed, pieces))


def repacked(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """Return the block with the same bytes as compressed-tensors names and types them."""
    return tuple(each for parts in _modules(pieces) for each in _repacked(parts))


def _repacked(parts: Mapping[str, Piece]) -> Iterator[Piece]:
    codes, scale = _codes(parts), _scale(parts)
    for suffix, piece in parts.items():
        module, kind = split_name(piece.name)[0], None
        named = "weight_scale" if piece is scale else suffix
        if codes is not None and codes.dtype in BYTES and piece in (codes, scale):
            named, kind = "weight_packed" if piece is codes else named, "U8"
        if suffix.startswith("_"):  # scales beside stacked experts
            named = suffix
        yield Piece(joined_name(module, named), piece.stored, kind=kind)


def dequantized(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """Return the block with its FP8 and MXFP4 tensors as BF16.

    Raises:
        RefusedError: it holds tensors that are quantized otherwise.
    """
    return tuple(plain for parts in _modules(pieces) for plain in _plain(parts))


def convertible(pieces: Iterable[Piece]) -> bool:
    """Return whether there is anything in FP8 or MXFP4."""
    return any(_codes(parts) is not None for parts in _modules(pieces))


def fours(pieces: Iterable[Piece]) -> bool:
    """Return whether there is anything in MXFP4."""
    found = (_codes(parts) for parts in _modules(pieces))
    return any(codes is not None and codes.dtype in BYTES for codes in found)


def _modules(pieces: Iterable[Piece]) -> Iterable[Mapping[str, Piece]]:
    """Return the tensors of each module by their suffixes."""
    modules: dict[str, dict[str, Piece]] = {}
    for piece in pieces:
        module, suffix = split_name(piece.name)
        modules.setdefault(module, {})[suffix] = piece
    return modules.values()


def _codes(parts: Mapping[str, Piece]) -> Piece | None:
    """Return the codes of one module that can be made BF16, if it has such."""
    scale = _scale(parts)
    for suffix in _WEIGHTS:
        piece = parts.get(suffix)
        if piece is not None and (
            piece.dtype in FP8 or (scale is not None and _four(piece, scale))
        ):
            return piece
    return None


def _scale(parts: Mapping[str, Piece]) -> Piece | None:
    return next((parts[suffix] for suffix in SCALES if suffix in parts), None)


def _four(codes: Piece, scale: Piece) -> bool:
    """Return whether codes are MXFP4: two in a byte, and a power of two for each 32 in a row."""
    *rows, half = codes.shape or (0,)
    due = (*rows, 2 * half // _GROUP)
    kinds = codes.dtype in BYTES and scale.dtype in _POWERS
    return kinds and bool(rows) and 2 * half % _GROUP == 0 and scale.shape == due


def _plain(parts: Mapping[str, Piece]) -> Iterator[Piece]:
    """Yield the tensors of one module without its codes."""
    codes = _codes(parts)
    if codes is not None:
        scale = _scale(parts)
        if scale is None:
            raise RefusedError(
                f"the base holds {codes.source!r:.120} in FP8 and no scale for it",
                "give another base: nobody can tell what its codes mean",
            )
        yield Piece(codes.name, codes.stored, scale.stored)
    for suffix, piece in parts.items():
        if codes is not None and (piece is codes or suffix in (*SCALES, *_ACTIVATIONS)):
            continue
        if piece.dtype not in FLOATS:
            raise RefusedError(
                f"the base holds {piece.source!r:.120} as {piece.dtype}: only FP8 and MXFP4 can "
                "be made BF16",
                "give a base whose MTP block is BF16, FP8 or MXFP4",
            )
        yield piece


_WEIGHTS = ("weight", "")
_ACTIVATIONS = ("input_scale", "k_scale", "v_scale")
"""Suffixes of scales that say nothing about the weight."""


# --- the new shard --------------------------------------------------------------------


def ordered(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """Return the tensors in the order of the new shard.

    Wide elements go first, so that each tensor begins at a multiple of its element; then the
    order of the base, so that neighbours there stay neighbours, and are fetched by one request.
    """
    return tuple(
        sorted(pieces, key=lambda p: (-BITS[p.dtype], p.scale is not None, p.shard, p.stored.begin))
    )
