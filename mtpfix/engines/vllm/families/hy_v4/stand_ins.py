"""What it takes to construct HY-V4 on a CPU."""

from __future__ import annotations

from ..._child.patch import module, patch
from ..._child.standins import NoBackend


@patch(since=(0, 29), only=("hy_v4",))
def hy_v4_backend() -> None:
    """Sparse HY-V4 attention finds a dummy backend: it looks for one itself, a CPU has none."""
    layer = module("vllm.models.hy_v4.nvidia.attention")
    real = layer.get_attn_backend
    layer.get_attn_backend = lambda *a, **k: NoBackend if k.get("use_mla") else real(*a, **k)


@patch(since=(0, 29), until=(0, 32), only=("hy_v4",))
def hy_v4_sparse_layers() -> None:
    """HY-V4 knows sparse layers by the name that the installed transformers gives them too."""
    layer = module("vllm.models.hy_v4.nvidia.attention")
    layer._SPARSE_LAYER_TYPES = (*layer._SPARSE_LAYER_TYPES, "indexed_attention")
