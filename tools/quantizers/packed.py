"""Weights the way AWQ and GPTQ store them: integers, several to a word, transposed."""

from __future__ import annotations

import torch
from torch import Tensor

from tools.quantizers import rounding
from tools.quantizers.rounding import GROUP, Quantizer, Stored

AWQ_BITS = 4
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which of eight neighbours stands where in a word, from the lowest bits up."""


def awq(module: str, weight: Tensor) -> Stored:
    """Words along the output; neighbours are interleaved."""
    values, scale = rounding.integers(weight, AWQ_BITS, GROUP)
    zeros = torch.full_like(scale.T, _middle(AWQ_BITS), dtype=torch.int64)
    return {
        f"{module}.qweight": rounding.pack(interleaved(values.T), AWQ_BITS),
        f"{module}.qzeros": rounding.pack(interleaved(zeros), AWQ_BITS),
        f"{module}.scales": scale.T.bfloat16(),
    }


def gptq(bits: int, group: int) -> Quantizer:
    """Words along the input; a zero point is stored as one less than it is."""

    def quantize(module: str, weight: Tensor) -> Stored:
        values, scale = rounding.integers(weight, bits, group)
        zeros = torch.full_like(scale.T, _middle(bits) - 1, dtype=torch.int64)
        return {
            f"{module}.qweight": rounding.pack(values, bits).T,
            f"{module}.qzeros": rounding.pack(zeros, bits),
            f"{module}.scales": scale.T.bfloat16(),
            f"{module}.g_idx": torch.arange(weight.shape[1], dtype=torch.int32) // group,
        }

    return quantize


def _middle(bits: int) -> int:
    return 1 << (bits - 1)


def interleaved(values: Tensor) -> Tensor:
    """Columns in the order of AWQ, eight by eight."""
    return values.reshape(values.shape[0], -1, len(AWQ_ORDER))[:, :, AWQ_ORDER].reshape(
        values.shape
    )
