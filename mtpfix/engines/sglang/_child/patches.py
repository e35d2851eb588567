"""What it takes to construct models on a CPU, besides the face of a CUDA device and stand-ins.

Each patch is a function whose docstring says what it does and why. None touches the decision
which quantization method a layer gets.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from .device import GIBIBYTES, always

REMOTE = {
    "mimo": "Qwen2Config",
    "bailing_hybrid": "PretrainedConfig",
    "bailing_moe_linear": "PretrainedConfig",
    "bailing_moe_v3": "PretrainedConfig",
    "mimo_v2": "PretrainedConfig",
    "mimo_v2_flash": "PretrainedConfig",
    "nemotron_h_puzzle": "PretrainedConfig",
    "step3p5": "PretrainedConfig",
}
"""Model types whose configuration class is remote code, and the class of transformers that a
generic one is made of."""
OWN = ("mimo_v2_flash",)
"""Those of them that transformers has a class for which does not fit what is published."""


def memory() -> None:
    """The device has 80 GiB: there is no `nvidia-smi` to ask."""
    for name in ("sglang.srt.utils.common", "sglang.srt.server_args"):
        module: Any = importlib.import_module(name)
        if hasattr(module, "get_nvgpu_memory_capacity"):
            module.get_nvgpu_memory_capacity = always(float(GIBIBYTES << 10))


def remote_configs() -> None:
    """Generic configuration classes stand for those that are remote code: nothing is fetched."""
    importlib.import_module("sglang.srt.utils.hf_transformers_utils")  # registers SGLang's own
    transformers: Any = importlib.import_module("transformers")
    for model_type, base in REMOTE.items():
        if model_type in OWN or model_type not in transformers.CONFIG_MAPPING:
            name = "".join(part.title() for part in model_type.split("_")) + "Config"
            made = type(name, (getattr(transformers, base),), {"model_type": model_type})
            transformers.AutoConfig.register(model_type, made, exist_ok=True)


def block_shapes() -> None:
    """Matrices that are no whole number of blocks are built all the same: tiny models have some."""
    fp8: Any = importlib.import_module("sglang.srt.layers.quantization.fp8")
    for cls in vars(fp8).values():
        if hasattr(cls, "validate_block_quant_shapes"):
            cls.validate_block_quant_shapes = always(None)


ALWAYS = (memory, remote_configs)
PAST_FAILURES = (block_shapes,)
"""Those that carry a build past an exception that SGLang really raises."""


def apply(patches: tuple[Callable[[], None], ...]) -> list[str]:
    """Apply patches.

    Returns:
        `name: reason` of each.
    """
    for each in patches:
        each()
    return [f"{each.__name__}: {(each.__doc__ or '').strip()}" for each in patches]
