"""What it takes to construct Step-3.5 on a CPU."""

from __future__ import annotations

from typing import Any

from ..._child.patch import module, patch


@patch(only=("step3p5",), past_failures=True)
def step_layer_types() -> None:
    """Step-3.5 keeps the layer types of its draft layers: cut off, the draft raises IndexError."""
    holder = module("vllm.transformers_utils.configs.step3p5")
    if holder is None:
        return
    real = holder.Step3p5Config.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:
        real(self, *args, **options)
        if options.get("layer_types") is not None:
            self.layer_types = options["layer_types"]

    holder.Step3p5Config.__init__ = init


@patch(since=(0, 33), only=("step3p5",), past_failures=True)
def step_heads() -> None:
    """A Step-3.5 draft layer past the per-layer list of heads gets the general number."""
    holder = module("vllm.model_executor.models.step3p5")
    real = holder._get_num_attention_heads

    def heads(config: Any, *rest: Any) -> Any:
        try:
            return real(config, *rest)
        except IndexError:
            return config.num_attention_heads

    holder._get_num_attention_heads = heads
