"""What a recipe of a quantization method would write, before anything is calibrated. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from mtpfix.errors import UsageError
from mtpfix.model import Json, Tensor

PLAIN: Mapping[str, Tensor] = MappingProxyType({"weight": Tensor("BF16", (1, 1), 0, 0)})
"""The tensors of a layer that stays unquantized."""


def names() -> tuple[str, ...]:
    """Return every method that has entries of an effect."""
    return tuple(_methods())


def metadata(method: str) -> Mapping[str, Json]:
    """Return the least metadata of a method that quantizes every layer.

    Raises:
        UsageError: no entry of the method has an effect, or there is no such method.
    """
    found = _methods().get(method)
    if found is None:
        raise UsageError(
            f"mtpfix cannot name entries for the method {method!r:.60}",
            f"choose one of: {', '.join(names())}",
        )
    written: Mapping[str, Json] = found["metadata"]
    return written


def layer(method: str, stored: str | None) -> Mapping[str, Tensor]:
    """Return the tensors of a layer, by suffix.

    Args:
        method: a method that `metadata` knows.
        stored: how it stores the layer, such as `fp8-block`; None: unquantized.

    Raises:
        UsageError: the method has no such way.
    """
    if stored is None:
        return PLAIN
    ways = _methods().get(method, {}).get("stored", {})
    if stored not in ways:
        able = [name for name, recipe in _methods().items() if "stored" in recipe]
        raise UsageError(
            f"mtpfix does not know how {method!r:.60} stores a block as {stored!r:.60}",
            f"choose one of: {', '.join(ways)}"
            if ways
            else f"choose a method that it knows: {', '.join(able)}",
        )
    return {
        name: Tensor(dtype, tuple(shape), 0, 0) for name, (dtype, shape) in ways[stored].items()
    }


@cache
def _methods() -> dict[str, dict[str, Json]]:
    data = files("mtpfix.quant") / "recipes.json"
    found: dict[str, dict[str, Json]] = json.loads(data.read_text("utf-8"))["methods"]
    return found
