"""What it takes to construct Kimi-K3 on a CPU."""

from __future__ import annotations

from ..._child.patch import always, module, patch
from ..._child.standins import NoAttention, NoBackend


@patch(until=(0, 28), only=("kimi_k3",))
def kimi_k3_attention() -> None:
    """Kimi-K3's own MLA gets dummy backends: a CPU has none yet."""
    mla = module("vllm.models.kimi_k3.nvidia.mla")
    mla.get_attn_backend = always(NoBackend)
    mla.get_mla_prefill_backend = always(NoAttention)


@patch(since=(0, 31), only=("kimi_k3",))
def kimi_k3_plain_reduction() -> None:
    """Kimi-K3 fuses no GEMM with a reduction: one device never does, but CUTLASS is imported."""
    module("vllm.models.kimi_k3.nvidia.model").maybe_init_gemm_rs_ar = always(False)
