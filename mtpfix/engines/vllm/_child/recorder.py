"""Notes what vLLM decides for each layer that asks its quantization configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

UNQUANTIZED = {
    "NoneType",
    "UnquantizedEmbeddingMethod",
    "UnquantizedFusedMoEMethod",
    "UnquantizedLinearMethod",
}
"""Methods that hold plain weights, by class name."""


class Recorder:
    """Wraps `get_quant_method` of every configuration class and keeps a row for each call.

    Configurations that delegate to others nest their calls: only the outermost counts.

    Args:
        tolerant: a decision that raises is noted, and the layer is built unquantized, so
            that the decisions of the layers after it are heard too.
    """

    def __init__(self, *, tolerant: bool) -> None:
        self.tolerant = tolerant
        self.asked: Any = None
        """The configuration object that was asked last."""
        self._rows: list[tuple[nn.Module, str, str | None]] = []
        self._inside = False

    def watch(self) -> None:
        """Starts to watch every configuration class that is loaded by now."""
        from vllm.model_executor.layers.quantization.base_config import QuantizationConfig

        waiting = QuantizationConfig.__subclasses__()
        seen = set()
        while waiting:
            cls = waiting.pop()
            if cls in seen:
                continue
            seen.add(cls)
            waiting += cls.__subclasses__()
            if "get_quant_method" in vars(cls):
                cls.get_quant_method = self._wrapped(cls.get_quant_method)

    def _wrapped(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def get_quant_method(config: Any, layer: nn.Module, prefix: str, *rest: Any) -> Any:
            if self._inside:
                return original(config, layer, prefix, *rest)
            self.asked = config
            self._inside = True
            try:
                method = original(config, layer, prefix, *rest)
                check(layer, method)
            except Exception as error:
                self._rows.append((layer, prefix, f"{type(error).__name__}: {error}"))
                if not self.tolerant:
                    raise
                return plain(layer)
            finally:
                self._inside = False
            self._rows.append((layer, prefix, None))
            return method

        return get_quant_method

    def take(self, part: str, model: nn.Module | None) -> list[dict[str, Any]]:
        """The decisions since the last call, as rows of plain values.

        Args:
            part: `trunk` or `draft`.
            model: the finished model, to say where in it a layer sits.
        """
        paths = {id(m): name for name, m in model.named_modules()} if model is not None else {}
        rows, self._rows = self._rows, []
        once = {(id(layer), prefix): (layer, prefix, error) for layer, prefix, error in rows}
        decisions = []
        for layer, prefix, error in once.values():
            kind = kind_of(layer)
            if kind is not None:
                row = {"part": part, "name": prefix, "cls": type(layer).__name__, "kind": kind}
                row["param"] = paths.get(id(layer), "")
                decisions.append({**row, **verdict(layer, error)})
        return decisions


def verdict(layer: nn.Module, error: str | None) -> dict[str, str | None]:
    """What sits on `layer` after construction."""
    method = type(getattr(layer, "quant_method", None)).__name__
    if error is not None:
        return {"built": "error", "scheme": None, "method": None, "error": error}
    if method in UNQUANTIZED:
        return {"built": "unquantized", "scheme": None, "method": method, "error": None}
    scheme = getattr(layer, "scheme", None)
    name = method if scheme is None else type(scheme).__name__
    return {"built": "quantized", "scheme": name, "method": method, "error": None}


def experts_class() -> type[nn.Module]:
    """The layer that holds fused experts; up to 0.23 it was `FusedMoE` itself."""
    from vllm.model_executor.layers import fused_moe

    found: type[nn.Module] = getattr(fused_moe, "RoutedExperts", None) or fused_moe.FusedMoE
    return found


def kind_of(layer: nn.Module) -> str | None:
    """The kind of a layer that can hold weights; None for attention and the like."""
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


def check(layer: nn.Module, method: Any) -> None:
    """Makes the assertion about the method of experts that vLLM makes a moment later."""
    if method is None or not isinstance(layer, experts_class()):
        return
    from vllm.model_executor.layers.fused_moe.fused_moe_method_base import FusedMoEMethodBase

    if not isinstance(method, FusedMoEMethodBase):
        name = type(method).__name__
        raise AssertionError(f"{name} is not a method for fused experts")  # noqa: TRY004 - as vLLM


def plain(layer: nn.Module) -> Any:
    """The method of a layer whose decision raised; None lets the other kinds choose theirs."""
    from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod

    return UnquantizedLinearMethod() if isinstance(layer, LinearBase) else None


def unasked(model: nn.Module, decisions: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Layers with weights of their own whose method was never asked for."""
    heard = {row["param"] for row in decisions}
    return [
        {"param": name, "cls": type(module).__name__, "kind": kind_of(module) or "linear"}
        for name, module in model.named_modules()
        if name not in heard and (kind_of(module) or isinstance(module, nn.Linear))
    ]
