"""Weights the way `fp8`, `fbgemm_fp8` and DeepSeek-V4 store them."""

from __future__ import annotations

import torch
from torch import Tensor

from tools.quantizers import rounding
from tools.quantizers.rounding import Stored


def block(module: str, weight: Tensor) -> Stored:
    """A scale for each block of 128 by 128, by its name in DeepSeek-V3."""
    values, scale = rounding.fp8_by_block(weight)
    return {f"{module}.weight": values, f"{module}.weight_scale_inv": scale}


def tensor(module: str, weight: Tensor) -> Stored:
    """One scale; activations find theirs at run time."""
    values, scale = rounding.fp8_by_tensor(weight)
    return {f"{module}.weight": values, f"{module}.weight_scale": scale}


def static(module: str, weight: Tensor) -> Stored:
    """One scale, and one for the activations."""
    return {**tensor(module, weight), f"{module}.input_scale": torch.ones(1)}


def row(module: str, weight: Tensor) -> Stored:
    """A scale for each row, in full precision."""
    values, scale = rounding.fp8_by_row(weight)
    return {f"{module}.weight": values, f"{module}.weight_scale": scale}


def deepseek_v4(module: str, weight: Tensor) -> Stored:
    """Blocks of 128 by 128 under a bare `scale`."""
    values, scale = rounding.fp8_by_block(weight)
    return {f"{module}.weight": values, f"{module}.scale": scale}


def deepseek_v4_powers(module: str, weight: Tensor) -> Stored:
    """Blocks of 128 by 128 whose scales are powers of two: beside FP4 experts."""
    values, scale = rounding.fp8_by_block(weight, powers=True)
    return {f"{module}.weight": values, f"{module}.scale": scale.to(torch.float8_e8m0fnu)}


def deepseek_v41(module: str, weight: Tensor) -> Stored:
    """Blocks of 32 by 32 whose scales are powers of two: V4.1's MXFP8."""
    values, scale = rounding.fp8_by_block(weight, powers=True, side=rounding.GROUP)
    return {f"{module}.weight": values, f"{module}.scale": scale.to(torch.float8_e8m0fnu)}


def deepseek_v4_expert(module: str, weight: Tensor) -> Stored:
    """FP4 in groups of 32, two values in a signed byte."""
    values, scale = rounding.mxfp4(weight)
    return {
        f"{module}.weight": values.view(torch.int8),
        f"{module}.scale": scale.view(torch.float8_e8m0fnu),
    }
