"""Notes what vLLM decides for each layer that asks its quantization configuration."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..._child import recorder

UNQUANTIZED = {
    "NoneType",
    "UnquantizedEmbeddingMethod",
    "UnquantizedFusedMoEMethod",
    "UnquantizedLinearMethod",
}
"""Methods that hold plain weights, by class name."""


class Recorder(recorder.Recorder):
    """Of vLLM's configurations."""

    linear = nn.Linear

    def base(self) -> Any:
        """Return the class that configurations derive from."""
        from vllm.model_executor.layers.quantization.base_config import QuantizationConfig

        return QuantizationConfig

    def kind_of(self, layer: nn.Module) -> str | None:
        """Return the kind of a layer that can hold weights; None for attention and the like."""
        from vllm.model_executor.layers.linear import LinearBase
        from vllm.model_executor.layers.vocab_parallel_embedding import (
            ParallelLMHead,
            VocabParallelEmbedding,
        )

        kinds = (
            (LinearBase, "linear"),
            (experts_class(), "experts"),
            (ParallelLMHead, "lm_head"),
            (VocabParallelEmbedding, "embedding"),
        )
        return next((kind for cls, kind in kinds if isinstance(layer, cls)), None)

    def check(self, layer: nn.Module, method: Any) -> None:
        """Make the assertion about the method of experts that vLLM makes a moment later."""
        if method is None or not isinstance(layer, experts_class()):
            return
        from vllm.model_executor.layers.fused_moe.fused_moe_method_base import FusedMoEMethodBase

        if not isinstance(method, FusedMoEMethodBase):
            name = type(method).__name__
            told = f"{name} is not a method for fused experts"
            raise AssertionError(told)  # noqa: TRY004 - as vLLM

    def plain(self, layer: nn.Module) -> Any:
        """Return the method of a layer whose decision raised; None lets other kinds choose."""
        from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod

        return UnquantizedLinearMethod() if isinstance(layer, LinearBase) else None

    def verdict(self, asked: recorder.Asked) -> dict[str, str | None]:
        """Return what sits on a layer after its construction."""
        method = type(getattr(asked.layer, "quant_method", None)).__name__
        if asked.error is not None:
            return {"built": "error", "scheme": None, "method": None, "error": asked.error}
        if method in UNQUANTIZED:
            return {"built": "unquantized", "scheme": None, "method": method, "error": None}
        scheme = getattr(asked.layer, "scheme", None)
        name = method if scheme is None else type(scheme).__name__
        return {"built": "quantized", "scheme": name, "method": method, "error": None}


def experts_class() -> type[nn.Module]:
    """Return the layer that holds fused experts; up to 0.23 it was `FusedMoE` itself."""
    from vllm.model_executor.layers import fused_moe

    found: type[nn.Module] = getattr(fused_moe, "RoutedExperts", None) or fused_moe.FusedMoE
    return found
