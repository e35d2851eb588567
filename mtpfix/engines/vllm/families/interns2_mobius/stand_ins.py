"""What it takes to construct Intern-S2-Mobius on a CPU."""

from __future__ import annotations

from ..._child.patch import always, module, patch


@patch(since=(0, 28), only=("interns2_mobius",))
def mobius_config() -> None:
    """Intern-S2-Mobius gets a configuration class and no tokenizer: both are remote code."""
    from transformers import AutoConfig
    from transformers.models.qwen3_5_moe import configuration_qwen3_5_moe as base

    text = type("Text", (base.Qwen3_5MoeTextConfig,), {"model_type": "interns2_mobius_text"})
    vision = type("Vision", (base.Qwen3_5MoeVisionConfig,), {"model_type": "interns2_mobius"})
    parts = {"vision_config": vision, "text_config": text}
    members = {"model_type": "interns2_mobius", "sub_configs": parts}
    whole = type("Whole", (base.Qwen3_5MoeConfig,), members)
    AutoConfig.register("interns2_mobius", whole)
    holder = module("vllm.model_executor.models.interns2_mobius")
    holder.cached_tokenizer_from_config = always(None)
