"""What it takes to construct DeepSeek-V3.2 and GLM-5 on a CPU."""

from __future__ import annotations

import importlib

from ..._child.patch import module, patch


@patch(since=(0, 29), only=("deepseek_v32", "glm_moe_dsa"))
def deepseek_v32_for_cuda() -> None:
    """DeepSeek-V3.2 and GLM-5 resolve to their CUDA classes."""
    package = module("vllm.models.deepseek_v32")
    model = importlib.import_module("vllm.models.deepseek_v32.nvidia.model")
    draft = importlib.import_module("vllm.models.deepseek_v32.nvidia.mtp")
    package.DeepseekV32ForCausalLM = model.DeepseekV32ForCausalLM
    package.GlmMoeDsaForCausalLM = model.DeepseekV32ForCausalLM
    package.DeepseekV32MTP = draft.DeepseekV32MTP
