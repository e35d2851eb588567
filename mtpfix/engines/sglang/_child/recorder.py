"""Notes what SGLang decides for each layer that asks its quantization configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

KINDS = {
    "LinearBase": "linear",
    "FusedMoE": "experts",
    "ParallelLMHead": "lm_head",
    "VocabParallelEmbedding": "embedding",
}
"""Kinds of layers that can hold weights, by a class that they derive from, the nearest first."""


class Asked(NamedTuple):
    """One question to a configuration, and what it answered."""

    layer: nn.Module
    prefix: str
    method: Any
    error: str | None


class Recorder:
    """Wraps `get_quant_method` of every configuration class and keeps a row for each call.

    Configurations that delegate to others nest their calls: only the outermost counts.

    Args:
        tolerant: a decision that raises is noted, and the layer is built unquantized, so
            that the decisions of the layers after it are heard too.
    """

    def __init__(self, *, tolerant: bool) -> None:
        self.tolerant = tolerant
        self._rows: list[Asked] = []
        self._inside = False
        self._wrapped: set[type] = set()

    def watch(self) -> None:
        """Start to watch every configuration class that is loaded by now."""
        from sglang.srt.layers.quantization.base_config import QuantizationConfig

        waiting = QuantizationConfig.__subclasses__()
        while waiting:
            cls = waiting.pop()
            waiting += cls.__subclasses__()
            if "get_quant_method" in vars(cls) and cls not in self._wrapped:
                self._wrapped.add(cls)
                cls.get_quant_method = self._watched(cls.get_quant_method)

    def _watched(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def get_quant_method(config: Any, layer: nn.Module, prefix: str, *rest: Any) -> Any:
            if self._inside:
                return original(config, layer, prefix, *rest)
            self._inside = True
            try:
                method = original(config, layer, prefix, *rest)
            except Exception as error:
                told = f"{type(error).__name__}: {error}"
                self._rows.append(Asked(layer, prefix, None, told))
                if not self.tolerant:
                    raise
                return plain(layer)
            finally:
                self._inside = False
            self._rows.append(Asked(layer, prefix, method, None))
            return method

        return get_quant_method

    def take(self, part: str, model: nn.Module | None) -> list[dict[str, Any]]:
        """Return the decisions since the last call, as rows of plain values.

        Args:
            part: `trunk` or `draft`.
            model: the finished model, to say where in it a layer sits.
        """
        paths = {id(m): name for name, m in model.named_modules()} if model is not None else {}
        rows, self._rows = self._rows, []
        once = {(id(asked.layer), asked.prefix): asked for asked in rows}
        decisions = []
        for asked in once.values():
            kind = kind_of(asked.layer)
            if kind is None:
                continue
            cls = type(asked.layer).__name__
            row = {"part": part, "name": asked.prefix, "cls": cls, "kind": kind}
            decisions.append(row | {"param": paths.get(id(asked.layer), "")} | verdict(asked))
        return decisions


def kind_of(layer: nn.Module) -> str | None:
    """Return the kind of a layer that can hold weights; None for attention and the like."""
    names = (KINDS.get(cls.__name__) for cls in type(layer).__mro__)
    return next(filter(None, names), None)


def verdict(asked: Asked) -> dict[str, str | None]:
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


def plain(layer: nn.Module) -> Any:
    """Return the method of a layer whose decision raised; None lets other kinds choose theirs."""
    from sglang.srt.layers.quantization.unquant import UnquantizedLinearMethod

    return UnquantizedLinearMethod() if kind_of(layer) == "linear" else None


def unasked(model: nn.Module, decisions: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the layers with weights of their own whose method was never asked for."""
    heard = {row["param"] for row in decisions}
    return [
        {"param": name, "cls": type(module).__name__, "kind": kind_of(module) or "linear"}
        for name, module in model.named_modules()
        if name not in heard and (kind_of(module) or isinstance(module, nn.Linear))
    ]
