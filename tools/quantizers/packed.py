"""Weights the way AWQ and GPTQ store them: integers of 4 bits, eight to a word, transposed."""

from __future__ import annotations

import torch
from torch import Tensor

from tools.quantizers import rounding
from tools.quantizers.rounding import GROUP, Stored

BITS = 4
MIDDLE = 2 ** (BITS - 1)
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which of eight neighbours stands where in a word, from the lowest bits up."""


def awq(module: str, weight: Tensor) -> Stored:
    """Words along the output; neighbours are interleaved."""
    values, scale = rounding.integers(weight, BITS, GROUP)
    zeros = torch.full_like(scale.T, MIDDLE, dtype=torch.int64)
    return {
        f"{module}.qweight": rounding.pack(interleaved(values.T), BITS),
        f"{module}.qzeros": rounding.pack(interleaved(zeros), BITS),
        f"{module}.scales": scale.T.bfloat16(),
    }


def gptq(module: str, weight: Tensor) -> Stored:
    """Words along the input; a zero point is stored as one less than it is."""
    values, scale = rounding.integers(weight, BITS, GROUP)
    zeros = torch.full_like(scale.T, MIDDLE - 1, dtype=torch.int64)
    return {
        f"{module}.qweight": rounding.pack(values, BITS).T,
        f"{module}.qzeros": rounding.pack(zeros, BITS),
        f"{module}.scales": scale.T.bfloat16(),
        f"{module}.g_idx": torch.arange(weight.shape[1], dtype=torch.int32) // GROUP,
    }


def interleaved(values: Tensor) -> Tensor:
    """Columns in the order of AWQ, eight by eight."""
    return values.reshape(values.shape[0], -1, len(AWQ_ORDER))[:, :, AWQ_ORDER].reshape(
        values.shape
    )
