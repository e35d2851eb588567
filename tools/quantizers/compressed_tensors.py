"""Weights the way compressed-tensors stores them."""

from __future__ import annotations

import torch
from torch import Tensor

from tools.quantizers import rounding
from tools.quantizers.rounding import Quantizer, Stored


def fp8_channel(module: str, weight: Tensor) -> Stored:
    """FP8 with a scale for each row."""
    values, scale = rounding.fp8_by_row(weight)
    return {f"{module}.weight": values, f"{module}.weight_scale": scale.bfloat16()}


def fp8_tensor(module: str, weight: Tensor) -> Stored:
    """FP8 with one scale, and one for the activations."""
    values, scale = rounding.fp8_by_tensor(weight)
    return {
        f"{module}.weight": values,
        f"{module}.weight_scale": scale,
        f"{module}.input_scale": torch.ones(1),
    }


def fp8_block(module: str, weight: Tensor) -> Stored:
    """FP8 with a scale for each block of 128 by 128."""
    values, scale = rounding.fp8_by_block(weight)
    return {f"{module}.weight": values, f"{module}.weight_scale": scale}


def int8_channel(module: str, weight: Tensor) -> Stored:
    """INT8 with a scale for each row."""
    scale = rounding.largest(weight.float(), 1) / 127
    values = (weight.float() / scale).round().clamp(-128, 127).to(torch.int8)
    return {f"{module}.weight": values, f"{module}.weight_scale": scale.bfloat16()}


def packed(bits: int, group: int | None) -> Quantizer:
    """Integers packed into 32-bit words, a scale for each group of columns, or for each row."""

    def quantize(module: str, weight: Tensor) -> Stored:
        values, scale = rounding.integers(weight, bits, group)
        return {
            f"{module}.weight_packed": rounding.pack(values, bits),
            f"{module}.weight_scale": scale.bfloat16(),
            f"{module}.weight_shape": torch.tensor(weight.shape, dtype=torch.int64),
        }

    return quantize


def nvfp4(module: str, weight: Tensor) -> Stored:
    """FP4 in groups of 16; the scale of the scales is stored as its inverse."""
    values, scale, top = rounding.nvfp4(weight)
    return {
        f"{module}.weight_packed": values,
        f"{module}.weight_scale": scale,
        f"{module}.weight_global_scale": 1 / top,
        f"{module}.input_global_scale": torch.ones(1),
    }


def mxfp4(module: str, weight: Tensor) -> Stored:
    """FP4 in groups of 32 with powers of two as scales."""
    values, scale = rounding.mxfp4(weight)
    return {f"{module}.weight_packed": values, f"{module}.weight_scale": scale}
