"""What it takes to construct Qwen4-Exp, with and without the vision wrapper on a CPU."""

from __future__ import annotations

from ..._child.patch import always, module, patch


@patch(only=("qwen4_exp", "qwen4_exp_text"))
def qwen4_sparse_attention() -> None:
    """Qwen4-Exp's sparse attention finds flash attention: its CUDA build is missing."""
    module("vllm.models.qwen4_exp.nvidia.model")  # imports the next one, which cannot come first
    qsa = module("vllm.models.qwen4_exp.nvidia.qsa")
    qsa.is_flash_attn_varlen_func_available = always(True)
