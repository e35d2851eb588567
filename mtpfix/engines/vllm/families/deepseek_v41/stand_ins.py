"""What it takes to construct DeepSeek-V4.1 on a CPU."""

from __future__ import annotations

import importlib

from ..._child.patch import patch
from ..deepseek_v4 import stand_ins as deepseek_v4


@patch(since=(0, 30), only=("deepseek_v41",))
def deepseek_v41_for_cuda() -> None:
    """DeepSeek-V4.1 gets what CUDA has: a quantization class, the layout of capability 9.0."""
    deepseek_v4.deepseek_v4_quantization_for_cuda()
    importlib.import_module("vllm.models.deepseek_v41")
    deepseek_v4.matrix_layout()


@patch(since=(0, 30), only=("deepseek_v41",))
def deepseek_v41_runners() -> None:
    """DSpark drafts are let in: they are for the second model runner, which a CPU has not."""
    deepseek_v4.deepseek_v4_runners()
