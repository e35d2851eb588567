"""The arithmetic of quantization: values and their scales, whatever a dialect calls them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Stored = dict[str, Tensor]
Quantizer = Callable[[str, Tensor], Stored]
"""Takes the name of a module and its weight; returns the tensors that stand in its place."""

FP8 = torch.float8_e4m3fn
FP8_MAX = 448.0
FP4_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
FP4_MAX = 6.0
TINY = 1e-12
BLOCK = 128
GROUP = 32
NVFP4_GROUP = 16
E8M0_BIAS = 127


class Scaled(NamedTuple):
    """Values in a small format, and what to multiply them by."""

    values: Tensor
    scale: Tensor


class Nvfp4(NamedTuple):
    """FP4 values under two levels of scales."""

    values: Tensor
    scale: Tensor
    """FP8, for each group of 16."""
    top: Tensor
    """The scale of the scales: one for the tensor."""


def fp8_by_tensor(weight: Tensor) -> Scaled:
    """FP8 with one scale."""
    scale = weight.float().abs().max().clamp(min=TINY).reshape(1) / FP8_MAX
    return Scaled(to_fp8(weight / scale), scale)


def fp8_by_row(weight: Tensor) -> Scaled:
    """FP8 with a scale for each row."""
    scale = largest(weight.float(), 1) / FP8_MAX
    return Scaled(to_fp8(weight / scale), scale)


def fp8_by_block(weight: Tensor, *, powers: bool = False, side: int = BLOCK) -> Scaled:
    """FP8 with a scale for each square block; with `powers` of two only."""
    rows, columns = (-(-size // side) for size in weight.shape)
    padded = torch.zeros(rows * side, columns * side)
    padded[: weight.shape[0], : weight.shape[1]] = weight.float()
    blocks = padded.view(rows, side, columns, side)
    scale = blocks.abs().amax((1, 3)).clamp(min=TINY) / FP8_MAX
    if powers:
        scale = scale.log2().ceil().exp2()
    values = (blocks / scale[:, None, :, None]).view_as(padded)
    return Scaled(to_fp8(values[: weight.shape[0], : weight.shape[1]]), scale)


def mxfp8(weight: Tensor) -> Scaled:
    """FP8 in groups of 32 columns, with the exponents of powers of two as scales."""
    groups = weight.float().view(weight.shape[0], -1, GROUP)
    exponent = exponents(groups, FP8_MAX)
    values = to_fp8((groups / exponent.exp2()).view_as(weight))
    return Scaled(values, biased(exponent.squeeze(2)))


def mxfp4(weight: Tensor) -> Scaled:
    """FP4 in groups of 32 columns, with the exponents of powers of two as scales."""
    groups = weight.float().view(weight.shape[0], -1, GROUP)
    exponent = exponents(groups, FP4_MAX)
    values = to_fp4((groups / exponent.exp2()).view_as(weight))
    return Scaled(values, biased(exponent.squeeze(2)))


def nvfp4(weight: Tensor) -> Nvfp4:
    """FP4 in groups of 16 columns with FP8 scales, under one scale for the tensor."""
    groups = weight.float().view(weight.shape[0], -1, NVFP4_GROUP)
    top = groups.abs().max().clamp(min=TINY).reshape(1) / (FP8_MAX * FP4_MAX)
    scale = to_fp8(largest(groups, 2) / FP4_MAX / top)
    values = groups / top / scale.float().clamp(min=TINY)
    return Nvfp4(to_fp4(values.view_as(weight)), scale.squeeze(2), top)


def integers(weight: Tensor, bits: int, group: int | None) -> Scaled:
    """Unsigned integers around the middle, a scale for each group of columns, or for each row."""
    groups = weight.float().view(weight.shape[0], -1, group or weight.shape[1])
    top = 2 ** (bits - 1)
    scale = largest(groups, 2) / (top - 1)
    values = (groups / scale).round().clamp(-top, top - 1).view_as(weight).long() + top
    return Scaled(values, scale.squeeze(2))


def largest(values: Tensor, dimension: int) -> Tensor:
    """The largest magnitude along a dimension, never zero."""
    return values.abs().amax(dimension, keepdim=True).clamp(min=TINY)


def exponents(groups: Tensor, top: float) -> Tensor:
    """The exponent of the power of two that brings each group within `top`."""
    return (largest(groups, 2) / top).log2().ceil().clamp(-E8M0_BIAS, E8M0_BIAS)


def biased(exponent: Tensor) -> Tensor:
    """Exponents as E8M0 has them, byte by byte."""
    return (exponent + E8M0_BIAS).to(torch.uint8)


def to_fp8(values: Tensor) -> Tensor:
    """Rounds to FP8."""
    return values.float().clamp(-FP8_MAX, FP8_MAX).to(FP8)


def to_fp4(values: Tensor) -> Tensor:
    """Rounds to FP4 and packs two values into a byte, the first in the low half."""
    grid = torch.tensor(FP4_VALUES)
    middles = (grid[1:] + grid[:-1]) / 2
    codes = torch.bucketize(values.abs(), middles) + 8 * (values < 0)
    return (codes[:, 0::2] + 16 * codes[:, 1::2]).to(torch.uint8)


def pack(values: Tensor, bits: int) -> Tensor:
    """Packs columns of non-negative integers into 32-bit words, the first in the lowest bits."""
    words = torch.zeros(values.shape[0], values.shape[1] * bits // 32, dtype=torch.int64)
    for i in range(32 // bits):
        words |= values[:, i :: 32 // bits] << (bits * i)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)
