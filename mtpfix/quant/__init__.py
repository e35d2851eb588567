"""Dialects of quantization metadata: one module each, with the same two functions.

`read(place)` turns the metadata into a `QuantView`; `edit(view, change)` turns a
change of its ignore list into edits of the JSON. Finding the metadata is common
to all of them and stands here, in the order in which vLLM looks for it
(`get_quant_config` in `model_executor/model_loader/weight_utils.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from mtpfix.errors import BrokenFileError, UnknownError
from mtpfix.model import Edit, Json, JsonFile, QuantView
from mtpfix.quant import compressed_tensors

_DIALECTS: Mapping[str, ModuleType] = {"compressed-tensors": compressed_tensors}

_PLACES = ("/quantization_config", "/text_config/quantization_config", "/compression_config")


@dataclass(frozen=True, slots=True)
class Change:
    """How an ignore list is to change: entries by text, positions by index."""

    remove: tuple[int, ...] = ()
    add: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where quantization metadata was found."""

    file: str
    pointer: str
    value: Mapping[str, Json]


def find(configs: Mapping[str, JsonFile]) -> Place | None:
    """The quantization metadata that vLLM would use, or None if there is none."""
    config = configs.get("config.json")
    for pointer in _PLACES if config is not None else ():
        value = config.value if config is not None else None
        for key in pointer.strip("/").split("/"):
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, Mapping):
            return Place("config.json", pointer, value)
        if value is not None:
            raise BrokenFileError(
                f"config.json: {pointer} is not an object",
                "restore the quantization_config that the quantizer wrote",
            )
    return None


def method_of(place: Place) -> str:
    """The quantization method as vLLM names it; empty where the metadata has none."""
    method = place.value.get("quant_method")
    return method.lower().replace("_tensors", "-tensors") if isinstance(method, str) else ""


def known(method: str) -> bool:
    """Whether a dialect of mtpfix reads this method."""
    return method in _DIALECTS


def read(place: Place) -> QuantView:
    """The metadata, read by its dialect.

    Raises:
        UnknownError: mtpfix has no dialect for the method.
        BrokenFileError: the metadata is malformed.
    """
    method = method_of(place)
    if method not in _DIALECTS:
        raise UnknownError(
            f"{place.file}: quantization method {method!r:.60} is not covered yet",
            f"covered: {', '.join(sorted(_DIALECTS))}",
            code="MTP902",
        )
    view: QuantView = _DIALECTS[method].read(place.file, place.pointer, place.value)
    return view


def edit(view: QuantView, change: Change) -> tuple[Edit, ...]:
    """The edits of the JSON files that make `change`."""
    edits: tuple[Edit, ...] = _DIALECTS[view.method].edit(view, change.remove, change.add)
    return edits


def changed(view: QuantView, change: Change) -> QuantView:
    """The view as it would be read after `change`, without going through JSON."""
    new: QuantView = _DIALECTS[view.method].changed(view, change.remove, change.add)
    return new
