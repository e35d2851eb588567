"""What it takes to construct Nemotron-H with the vision wrapper on a CPU."""

from __future__ import annotations

import contextlib
from typing import Any
from unittest.mock import MagicMock

from ..._child.patch import always, module, patch


@patch(only=("NemotronH_Super_Omni_Reasoning_V3", "nemotron_h_omni"))
def nemotron_omni_config() -> None:
    """Nemotron-H with vision gets a configuration class and a tokenizer: both are remote code."""
    from transformers import AutoConfig, PretrainedConfig

    def init(self: Any, text_config: Any = None, vision_config: Any = None, **options: Any) -> None:
        PretrainedConfig.__init__(self, **options)
        self.text_config = AutoConfig.for_model(**(text_config or {"model_type": "nemotron_h"}))
        self.vision_config = PretrainedConfig(**(vision_config or {}))

    for model_type in ("NemotronH_Super_Omni_Reasoning_V3", "nemotron_h_omni"):
        with contextlib.suppress(ValueError):
            members = {"model_type": model_type, "__init__": init}
            AutoConfig.register(model_type, type("NemotronOmni", (PretrainedConfig,), members))
    holder = module("vllm.model_executor.models.nano_nemotron_vl")
    holder.cached_tokenizer_from_config = always(MagicMock(name="tokenizer"))
