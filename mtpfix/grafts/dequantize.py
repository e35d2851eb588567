"""FP8 and MXFP4 codes made BF16: multiplied by their scales in FP32, and rounded once.

A multiplication in BF16 rounds twice, and differs in a fifth of the values. Nothing is rounded of
MXFP4, whose values and scales BF16 holds exactly.
"""

from __future__ import annotations

from math import ceil, prod
from typing import TYPE_CHECKING

from mtpfix.errors import RefusedError
from mtpfix.grafts.pieces import BYTES, Stored, values_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

AT_ONCE = 1 << 22
"""Values that are held in FP32, about."""
FOURS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The values of E2M1; with the sign bit, the same below zero."""


def dequantize(codes: bytearray, stored: Stored, scales: bytearray, scale: Stored) -> bytearray:
    """Return the bytes of a BF16 tensor.

    Args:
        codes: the bytes of the tensor, in FP8 or MXFP4.
        stored: what they are.
        scales: the bytes of its scales: one of the tensor, one a row, one a block or a group.
        scale: what they are.

    Raises:
        RefusedError: the scales do not fit the codes.
    """
    import torch  # noqa: PLC0415 - heavy, and only where something is converted

    packed, shape = stored.dtype in BYTES, values_shape(stored)
    weight = _tensor(codes, stored._replace(dtype="U8") if packed else stored)
    powers = scale._replace(dtype="F8_E8M0") if packed else scale
    factors, blocks = _fitted(_tensor(scales, powers).float(), shape, stored)
    made = bytearray(2 * prod(shape))
    if not made:
        return made
    into = torch.frombuffer(made, dtype=torch.bfloat16).view(shape)
    step = max(1, AT_ONCE * len(weight) // prod(shape))
    for begin in range(0, len(weight), step):
        rows = weight[begin : begin + step]
        part = _unpacked(rows) if packed else rows.float()
        part *= _spread(factors, blocks, begin, part.shape)
        into[begin : begin + step] = part
    return made


def _unpacked(pairs: torch.Tensor) -> torch.Tensor:
    """Return the values of bytes that hold two codes of E2M1 each, that of the low bits first."""
    import torch  # noqa: PLC0415 - as above

    known = torch.tensor((*FOURS, *(-value for value in FOURS)))
    codes = torch.stack((pairs & 15, pairs >> 4), dim=-1).flatten(-2)
    return known[codes.int()]


def _tensor(raw: bytearray, stored: Stored) -> torch.Tensor:
    import torch  # noqa: PLC0415 - as above

    kinds = {
        "F8_E4M3": torch.float8_e4m3fn,
        "F8_E5M2": torch.float8_e5m2,
        "F8_E8M0": torch.float8_e8m0fnu,
        "BF16": torch.bfloat16,
        "F16": torch.float16,
        "F32": torch.float32,
        "U8": torch.uint8,
    }
    kind = kinds.get(stored.dtype)
    if kind is None:
        raise RefusedError(
            f"{stored.name!r:.120} is of dtype {stored.dtype}, which cannot be made BF16",
            "give a base whose MTP block is BF16",
        )
    flat = torch.frombuffer(raw, dtype=torch.uint8) if raw else torch.empty(0, dtype=torch.uint8)
    return flat.view(kind).view(stored.shape)


def _fitted(
    factors: torch.Tensor, shape: Sequence[int], stored: Stored
) -> tuple[torch.Tensor, list[int]]:
    """Return the scales with the dimensions of the codes, and the elements of a block in each."""
    if factors.numel() == 1:
        factors = factors.reshape([1] * len(shape))
    elif factors.dim() == len(shape) - 1:  # one a row
        factors = factors.unsqueeze(-1)
    if factors.dim() != len(shape) or not shape:
        raise _unfit(stored)
    return factors, [_block(*pair, stored) for pair in zip(shape, factors.shape, strict=True)]


def _spread(
    factors: torch.Tensor, blocks: Sequence[int], begin: int, shape: Sequence[int]
) -> torch.Tensor:
    """Return one factor for each element of some rows, or what broadcasts to that."""
    import torch  # noqa: PLC0415 - as above

    found = factors[torch.arange(begin, begin + shape[0]) // blocks[0]]
    for dimension in range(1, len(shape)):
        if found.shape[dimension] > 1:
            found = found.repeat_interleave(blocks[dimension], dimension)
            found = found.narrow(dimension, 0, shape[dimension])
    return found


def _block(rows: int, blocks: int, stored: Stored) -> int:
    """Return how many elements a block has along one dimension: a power of two, the last cut."""
    size = 1
    while blocks and ceil(rows / size) > blocks:
        size *= 2
    if rows and ceil(rows / size) != blocks:
        raise _unfit(stored)
    return size


def _unfit(stored: Stored) -> RefusedError:
    return RefusedError(
        f"the scales of {stored.name!r:.120} in the base do not fit its shape",
        "give a base whose MTP block is BF16",
    )
