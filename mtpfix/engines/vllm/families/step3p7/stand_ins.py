"""What it takes to construct Step-3.7 on a CPU."""

from __future__ import annotations

from typing import Any

from ..._child.patch import patch
from ..step3p5.stand_ins import step_heads


@patch(since=(0, 23), only=("step3p7",))
def step3p7_config() -> None:
    """Step-3.7 gets a generic configuration class: its own is remote code, and keeps all lists."""
    from transformers import AutoConfig, PretrainedConfig

    def init(self: Any, text_config: Any = None, vision_config: Any = None, **options: Any) -> None:
        PretrainedConfig.__init__(self, **options)
        self.text_config = text(**(text_config or {}))
        self.vision_config = PretrainedConfig(**(vision_config or {}))

    text = type("Step3p7Text", (PretrainedConfig,), {"model_type": "step3p5"})
    members = {"model_type": "step3p7", "__init__": init, "sub_configs": {"text_config": text}}
    cls = type("Step3p7Generic", (PretrainedConfig,), members)
    AutoConfig.register("step3p7", cls, exist_ok=True)


patch(since=(0, 33), only=("step3p7",), past_failures=True)(step_heads)
