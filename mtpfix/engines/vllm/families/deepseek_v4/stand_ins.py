"""What it takes to construct DeepSeek-V4 on a CPU."""

from __future__ import annotations

import importlib
import sys
import types
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import torch

from ..._child.patch import always, module, patch, platform
from ..._child.standins import CudaFace


@patch(until=(0, 24))
def rope_tables() -> None:
    """DeepSeek-V4 computes its rotary tables on the CPU: it reads values, which meta has not."""
    rope = module("vllm.model_executor.layers.rotary_embedding.deepseek_scaling_rope")
    cls = getattr(rope, "DeepseekV4ScalingRotaryEmbedding", None)
    if cls is None:
        return
    real = cls._compute_cos_sin_cache

    def compute(self: Any) -> Any:
        with torch.device("cpu"):
            return real(self)

    cls._compute_cos_sin_cache = compute


@patch(since=(0, 22), only=("deepseek_v4",))
def deepseek_v4_for_cuda() -> None:
    """DeepSeek-V4 resolves to its CUDA classes, with the matrix layout of capability 9.0."""
    package = module("vllm.models.deepseek_v4")
    model = importlib.import_module("vllm.models.deepseek_v4.nvidia.model")
    draft = importlib.import_module("vllm.models.deepseek_v4.nvidia.mtp")
    package.DeepseekV4ForCausalLM = model.DeepseekV4ForCausalLM
    package.DeepSeekV4MTP = draft.DeepSeekV4MTP
    if hasattr(package, "DSparkDeepseekV4ForCausalLM"):
        spark = importlib.import_module("vllm.models.deepseek_v4.nvidia.dspark")
        package.DSparkDeepseekV4ForCausalLM = spark.DSparkDeepseekV4ForCausalLM
    matrix_layout()


def matrix_layout() -> None:
    """Give the modules that are imported by now the matrix layout of capability 9.0."""
    for name, holder in list(sys.modules.items()):
        if name.startswith("vllm.models.deepseek_v4") and hasattr(
            holder, "compute_fp8_einsum_recipe"
        ):
            vars(holder)["compute_fp8_einsum_recipe"] = always(((1, 128, 128), False))


@patch(since=(0, 32), only=("deepseek_v4",))
def deepseek_v4_quantization_for_cuda() -> None:
    """DeepSeek-V4 gets the quantization class of CUDA, that of V4.1: a CPU gets an older one."""
    package = module("vllm.models.deepseek_v4")
    file = Path(package.__file__).parents[1] / "deepseek_v41" / "quant_config.py"
    name = "vllm.models.deepseek_v41.quant_config"
    loader = SourceFileLoader(name, str(file))
    holder = types.ModuleType(name)
    loader.exec_module(holder)
    package.DeepseekV4FP8Config = holder.DeepseekV4FP8Config


@patch(until=(0, 24), only=("deepseek_v4",))
def deepseek_v4_capability() -> None:
    """The platform has capability 9.0: DeepSeek-V4's attention asks for it."""
    capability = CudaFace().get_device_capability()
    platform().get_device_capability = classmethod(always(capability))


@patch(until=(0, 30), only=("deepseek_v4",))
def deepseek_v4_cache() -> None:
    """The KV cache is FP8, as DeepSeek-V4 demands: the CPU platform resets it to auto."""
    from vllm.engine.arg_utils import EngineArgs

    real = EngineArgs.create_engine_config

    def create(self: Any, *args: Any, **options: Any) -> Any:
        config = real(self, *args, **options)
        config.cache_config.cache_dtype = "fp8"
        return config

    EngineArgs.create_engine_config = create


@patch(since=(0, 25), only=("deepseek_v4",))
def deepseek_v4_runners() -> None:
    """DSpark drafts are let in: they are for the second model runner, which a CPU has not."""
    config = module("vllm.config.vllm").VllmConfig
    config._get_v1_model_runner_unsupported_features = always([])
    config._validate_v2_model_runner = always(None)
