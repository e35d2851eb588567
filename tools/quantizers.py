"""Quantizes one weight the way compressed-tensors stores it.

Each function takes the name of a module and its weight, and returns the tensors that
stand in place of the weight.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Stored = dict[str, Tensor]
Quantizer = Callable[[str, Tensor], Stored]

FP8 = torch.float8_e4m3fn
FP8_MAX = 448.0
FP4_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
FP4_MAX = 6.0
TINY = 1e-12
BLOCK = 128
GROUP = 32
NVFP4_GROUP = 16


def fp8_channel(module: str, weight: Tensor) -> Stored:
    """FP8 with a scale for each row."""
    scale = largest(weight.float(), 1) / FP8_MAX
    return {f"{module}.weight": to_fp8(weight / scale), f"{module}.weight_scale": scale.bfloat16()}


def fp8_tensor(module: str, weight: Tensor) -> Stored:
    """FP8 with one scale, and one for the activations."""
    scale = weight.float().abs().max().clamp(min=TINY).reshape(1) / FP8_MAX
    return {
        f"{module}.weight": to_fp8(weight / scale),
        f"{module}.weight_scale": scale,
        f"{module}.input_scale": torch.ones(1),
    }


def fp8_block(module: str, weight: Tensor) -> Stored:
    """FP8 with a scale for each block of 128 by 128."""
    rows, columns = (-(-size // BLOCK) for size in weight.shape)
    padded = torch.zeros(rows * BLOCK, columns * BLOCK)
    padded[: weight.shape[0], : weight.shape[1]] = weight.float()
    blocks = padded.view(rows, BLOCK, columns, BLOCK)
    scale = blocks.abs().amax((1, 3)).clamp(min=TINY) / FP8_MAX
    values = (blocks / scale[:, None, :, None]).view_as(padded)
    return {
        f"{module}.weight": to_fp8(values[: weight.shape[0], : weight.shape[1]]),
        f"{module}.weight_scale": scale,
    }


def int8_channel(module: str, weight: Tensor) -> Stored:
    """INT8 with a scale for each row."""
    scale = largest(weight.float(), 1) / 127
    values = (weight.float() / scale).round().clamp(-128, 127).to(torch.int8)
    return {f"{module}.weight": values, f"{module}.weight_scale": scale.bfloat16()}


def packed(bits: int, group: int | None) -> Quantizer:
    """Integers packed into 32-bit words, a scale for each group of columns, or for each row."""

    def quantize(module: str, weight: Tensor) -> Stored:
        groups = weight.float().view(weight.shape[0], -1, group or weight.shape[1])
        top = 2 ** (bits - 1)
        scale = largest(groups, 2) / (top - 1)
        values = (groups / scale).round().clamp(-top, top - 1).view_as(weight).long() + top
        return {
            f"{module}.weight_packed": pack(values, bits),
            f"{module}.weight_scale": scale.squeeze(2).bfloat16(),
            f"{module}.weight_shape": torch.tensor(weight.shape, dtype=torch.int64),
        }

    return quantize


def nvfp4(module: str, weight: Tensor) -> Stored:
    """FP4 in groups of 16 with FP8 scales, under one scale for the tensor."""
    groups = weight.float().view(weight.shape[0], -1, NVFP4_GROUP)
    top = groups.abs().max().clamp(min=TINY).reshape(1)
    globally = FP8_MAX * FP4_MAX / top
    scale = to_fp8(largest(groups, 2) / FP4_MAX * globally)
    values = groups * globally / scale.float().clamp(min=TINY)
    return {
        f"{module}.weight_packed": to_fp4(values.view_as(weight)),
        f"{module}.weight_scale": scale.squeeze(2),
        f"{module}.weight_global_scale": globally,
        f"{module}.input_global_scale": torch.ones(1),
    }


def mxfp4(module: str, weight: Tensor) -> Stored:
    """FP4 in groups of 32 with powers of two as scales."""
    groups = weight.float().view(weight.shape[0], -1, GROUP)
    exponent = (largest(groups, 2) / FP4_MAX).log2().ceil().clamp(-127, 127)
    return {
        f"{module}.weight_packed": to_fp4((groups / exponent.exp2()).view_as(weight)),
        f"{module}.weight_scale": (exponent.squeeze(2) + 127).to(torch.uint8),
    }


def largest(values: Tensor, dimension: int) -> Tensor:
    """The largest magnitude along a dimension, never zero."""
    return values.abs().amax(dimension, keepdim=True).clamp(min=TINY)


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
    """Packs non-negative integers into 32-bit words, the first in the lowest bits."""
    words = torch.zeros(values.shape[0], values.shape[1] * bits // 32, dtype=torch.int64)
    for i in range(32 // bits):
        words |= values[:, i :: 32 // bits] << (bits * i)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


QUANTIZERS: dict[str, Quantizer] = {
    "ct-fp8-channel": fp8_channel,
    "ct-fp8-tensor": fp8_tensor,
    "ct-fp8-block": fp8_block,
    "ct-int8": int8_channel,
    "ct-w4a16": packed(4, GROUP),
    "ct-w8a16": packed(8, None),
    "ct-nvfp4": nvfp4,
    "ct-mxfp4": mxfp4,
}
"""By the name of the scheme in `schemes.json`."""
