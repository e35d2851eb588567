"""What it takes to construct Qwen3.5 with the vision wrapper, dense and MoE on a CPU."""

from __future__ import annotations

from ..._child.patch import patch


@patch(since=(0, 22), only=("intern_s2_preview",))
def interns2_preview_config() -> None:
    """Intern-S2-Preview gets a configuration class: its own is remote code."""
    from transformers import AutoConfig
    from transformers.models.qwen3_5_moe import configuration_qwen3_5_moe as base

    parts = {"vision_config": base.Qwen3_5MoeVisionConfig, "text_config": base.Qwen3_5MoeTextConfig}
    members = {"model_type": "intern_s2_preview", "sub_configs": parts}
    cls = type("InternS2Preview", (base.Qwen3_5MoeConfig,), members)
    AutoConfig.register("intern_s2_preview", cls, exist_ok=True)
