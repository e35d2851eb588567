"""What a recipe of a quantization method would write, before anything is calibrated. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from mtpfix.errors import UsageError
from mtpfix.model import Json, Tensor
from mtpfix.quant.location import Location

PLAIN: Mapping[str, Tensor] = MappingProxyType({"weight": Tensor("BF16", (1, 1), 0, 0)})
"""The tensors of a layer that stays unquantized."""


def names() -> tuple[str, ...]:
    """Return every method that has entries of an effect."""
    return tuple(_methods())


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a recipe leaves behind.

    Attributes:
        place: its quantization metadata, where they stand.
        layer: the tensors of each layer of the MTP block, by suffix.
    """

    place: Location
    layer: Mapping[str, Tensor]


def recipe(method: str, stored: str | None, config: Mapping[str, Json]) -> Recipe:
    """Return what a method would write for a model.

    Args:
        method: the quantization method.
        stored: how it is to store the MTP block, such as `fp8-block`; None: unquantized.
        config: the `config.json` of the model.

    Raises:
        UsageError: no entry of the method has an effect, or it has no such way to store a layer.
    """
    model_type = str(config.get("model_type"))
    place = Location("config.json", "/quantization_config", metadata(method), model_type)
    return Recipe(place, _layer(method, stored))


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


def _layer(method: str, stored: str | None) -> Mapping[str, Tensor]:
    """Return the tensors of a layer that a method stores in one way, by suffix."""
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
