"""Notes what SGLang decides for each layer that asks its quantization configuration."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..._child import recorder

KINDS = {
    "LinearBase": "linear",
    "FusedMoE": "experts",
    "ParallelLMHead": "lm_head",
    "VocabParallelEmbedding": "embedding",
}
"""Kinds of layers that can hold weights, by a class that they derive from, the nearest first."""


class Recorder(recorder.Recorder):
    """Of SGLang's configurations."""

    linear = nn.Linear

    def base(self) -> Any:
        """Return the class that configurations derive from."""
        from sglang.srt.layers.quantization.base_config import QuantizationConfig

        return QuantizationConfig

    def kind_of(self, layer: nn.Module) -> str | None:
        """Return the kind of a layer that can hold weights; None for attention and the like."""
        names = (KINDS.get(cls.__name__) for cls in type(layer).__mro__)
        return next(filter(None, names), None)

    def check(self, layer: nn.Module, method: Any) -> None:
        """Raise where the plain GPTQ kernel, looked for with the weights, is gone."""
        if type(method).__name__ == "GPTQLinearMethod" and getattr(layer, "scheme", None) is None:
            layer.scheme = method.quant_config.get_linear_scheme(layer)

    def plain(self, layer: nn.Module) -> Any:
        """Return the method of a layer whose decision raised; None lets other kinds choose."""
        from sglang.srt.layers.quantization.unquant import UnquantizedLinearMethod

        return UnquantizedLinearMethod() if self.kind_of(layer) == "linear" else None

    def verdict(self, asked: recorder.Asked) -> dict[str, str | None]:
        """Return what sits on a layer after its construction."""
        if asked.error is not None:
            return {"built": "error", "scheme": None, "method": None, "error": asked.error}
        method = getattr(asked.layer, "quant_method", None) or asked.method
        name = type(method).__name__
        if method is None or name.startswith("Unquantized"):
            return {"built": "unquantized", "scheme": None, "method": name, "error": None}
        scheme = getattr(asked.layer, "scheme", None)
        found = name if scheme is None else type(scheme).__name__
        return {"built": "quantized", "scheme": found, "method": name, "error": None}
