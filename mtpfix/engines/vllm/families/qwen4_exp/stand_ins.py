"""What it takes to construct Qwen4-Exp, with and without the vision wrapper on a CPU."""

from __future__ import annotations

from typing import Any

from ..._child.patch import always, module, patch


@patch(only=("qwen4_exp", "qwen4_exp_text"))
def qwen4_sparse_attention() -> None:
    """Qwen4-Exp's sparse attention finds flash attention: its CUDA build is missing."""
    module("vllm.models.qwen4_exp.nvidia.model")  # imports the next one, which cannot come first
    qsa = module("vllm.models.qwen4_exp.nvidia.qsa")
    qsa.is_flash_attn_varlen_func_available = always(True)


@patch(only=("qwen4_exp",))
def qwen4_vision_tower() -> None:
    """Qwen4-Exp builds its vision tower: with language_model_only it alone leaves it out."""
    cls = module("vllm.models.qwen4_exp.nvidia.model").Qwen4ExpForConditionalGeneration
    real = cls.__init__

    def init(self: Any, *, vllm_config: Any, prefix: str = "model") -> None:
        seeing = vllm_config.model_config.multimodal_config
        asked, seeing.language_model_only = seeing.language_model_only, False
        try:
            real(self, vllm_config=vllm_config, prefix=prefix)
        finally:
            seeing.language_model_only = asked

    cls.__init__ = init
