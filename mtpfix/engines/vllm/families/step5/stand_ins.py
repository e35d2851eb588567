"""What it takes to construct Step-5 on a CPU."""

from __future__ import annotations

import importlib
import sys
import types

from ..._child.patch import always, generic_config, patch
from ..._child.standins import CudaFace, NoBackend

generic_config("step5")


@patch(since=(0, 33), only=("step5", "step5_vl"))
def second_runner() -> None:
    """The V1 runner refuses nothing: CUDA has the V2 runner, which builds the same modules."""
    from vllm.config import VllmConfig

    name = "_get_v1_model_runner_unsupported_features"
    setattr(VllmConfig, name, always([]))


@patch(since=(0, 33), only=("step5", "step5_vl"))
def step5_attention() -> None:
    """Step-5's attention sees capability 9.0 and gets a dummy backend: a CPU has none."""
    vars(importlib.import_module("vllm.models.step5.nvidia.model"))["current_platform"] = CudaFace()
    sparse = types.ModuleType("vllm.models.step5.nvidia.sparse_attention")
    for name in ("Step5DSAAttentionBackend", "Step5SplitKVFlashAttentionBackend"):
        backend = {"supports_compute_capability": always(True)}
        setattr(sparse, name, type(name, (NoBackend,), backend))
    sys.modules[sparse.__name__] = sparse
