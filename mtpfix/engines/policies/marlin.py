"""What Marlin's kernels take, in vLLM and in SGLang alike. Pure.

Source: `quantization/utils/marlin_utils.py` of vLLM, `quantization/marlin_utils.py` of SGLang.
"""

from __future__ import annotations

GROUPS = (-1, 32, 64, 128)
"""The group sizes of packed integers."""
SYMMETRIC = ((4, True), (8, True))
"""Bits of GPTQ's weights, and whether they are symmetric."""
HIDDEN, TILE = 128, 64
"""The hidden size and the width of an expert are multiples of these, unless they are padded."""
SIZES = (
    "moe_intermediate_size",
    "expert_hidden_dim",
    "expert_ffn_hidden_size",
    "intermediate_size",
)
"""Fields that hold the width of an expert, the first that is there."""
