"""Weights the way NVIDIA ModelOpt stores them: the values keep the name `weight`."""

from __future__ import annotations

import torch
from torch import Tensor

from tools.quantizers import rounding
from tools.quantizers.rounding import Stored


def nvfp4(module: str, weight: Tensor) -> Stored:
    """FP4 in groups of 16; `weight_scale_2` is the scale of the scales."""
    values, scale, top = rounding.nvfp4(weight)
    return {
        f"{module}.weight": values,
        f"{module}.weight_scale": scale,
        f"{module}.weight_scale_2": top,
        f"{module}.input_scale": torch.ones(1),
    }


def nvfp4_weights(module: str, weight: Tensor) -> Stored:
    """The same without a scale for activations."""
    stored = nvfp4(module, weight)
    del stored[f"{module}.input_scale"]
    return stored


def fp8_channel(module: str, weight: Tensor) -> Stored:
    """FP8 with a scale for each row; activations find theirs at run time."""
    values, scale = rounding.fp8_by_row(weight)
    return {f"{module}.weight": values, f"{module}.weight_scale": scale.squeeze(1)}


def fp8_block(module: str, weight: Tensor) -> Stored:
    """FP8 in blocks of 128 by 128, whose scales have a dimension for each side of a block."""
    values, scale = rounding.fp8_by_block(weight)
    return {f"{module}.weight": values, f"{module}.weight_scale": scale[:, None, :, None]}


def mxfp8(module: str, weight: Tensor) -> Stored:
    """FP8 in groups of 32 with powers of two as scales."""
    values, scale = rounding.mxfp8(weight)
    return {f"{module}.weight": values, f"{module}.weight_scale": scale}


def mxfp4(module: str, weight: Tensor) -> Stored:
    """FP4 in groups of 32 with powers of two as scales; Quark and `mxfp4` store it alike."""
    values, scale = rounding.mxfp4(weight)
    return {f"{module}.weight": values, f"{module}.weight_scale": scale}
