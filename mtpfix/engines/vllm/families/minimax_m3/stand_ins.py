"""What it takes to construct MiniMax-M3 on a CPU."""

from __future__ import annotations

import sys
from unittest.mock import MagicMock

from ..._child.patch import always, patch

_OPS = "vllm.models.minimax_m3.nvidia.ops"


@patch(since=(0, 34), only=("minimax_m3_vl",))
def cutlass_kernels() -> None:
    """The indexer's and the MLP's own kernels are dummies that fuse nothing: CUTLASS is missing."""
    for name in ("index_decode_score", "dense_gemm1_mxfp8"):
        kernel = MagicMock(name=name)
        kernel.can_fuse_gemm1 = always(value=False)
        sys.modules[f"{_OPS}.{name}"] = kernel
