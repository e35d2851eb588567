"""Notes what an engine decides for each layer that asks its quantization configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import nn

Row = dict[str, Any]


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

    linear: type[nn.Module]  # the layer of torch that is built where nobody is asked

    def __init__(self, *, tolerant: bool) -> None:
        self.tolerant = tolerant
        self.asked: Any = None
        """The configuration object that was asked last."""
        self._rows: list[Asked] = []
        self._inside = False
        self._wrapped: set[type] = set()

    def base(self) -> Any:
        """Return the class that configurations derive from."""
        raise NotImplementedError

    def kind_of(self, layer: nn.Module) -> str | None:
        """Return the kind of a layer that can hold weights; None for attention and the like."""
        raise NotImplementedError

    def check(self, layer: nn.Module, method: Any) -> None:
        """Raise what the engine would raise a moment after the answer."""

    def plain(self, layer: nn.Module) -> Any:
        """Return the method of a layer whose decision raised; None lets it choose."""
        raise NotImplementedError

    def verdict(self, asked: Asked) -> dict[str, str | None]:
        """Return what sits on a layer after its construction."""
        raise NotImplementedError

    def watch(self) -> None:
        """Start to watch every configuration class that is loaded by now."""
        waiting = self.base().__subclasses__()
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
            self.asked = config
            self._inside = True
            try:
                method = original(config, layer, prefix, *rest)
                self.check(layer, method)
            except Exception as error:
                told = f"{type(error).__name__}: {error}"
                self._rows.append(Asked(layer, prefix, None, told))
                if not self.tolerant:
                    raise
                return self.plain(layer)
            finally:
                self._inside = False
            self._rows.append(Asked(layer, prefix, method, None))
            return method

        return get_quant_method

    def take(self, part: str, model: nn.Module | None) -> list[Row]:
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
            kind = self.kind_of(asked.layer)
            if kind is None:
                continue
            cls = type(asked.layer).__name__
            row = {"part": part, "name": asked.prefix, "cls": cls, "kind": kind}
            decisions.append(row | {"param": paths.get(id(asked.layer), "")} | self.verdict(asked))
        return decisions

    def unasked(self, model: nn.Module, decisions: list[Row]) -> list[dict[str, str]]:
        """Return the layers with weights of their own whose method was never asked for."""
        heard = {row["param"] for row in decisions}
        return [
            {"param": name, "cls": type(module).__name__, "kind": self.kind_of(module) or "linear"}
            for name, module in model.named_modules()
            if name not in heard and (self.kind_of(module) or isinstance(module, self.linear))
        ]
