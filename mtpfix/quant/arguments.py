"""What metadata says of weights or activations, in the words of compressed-tensors. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.checkpoint.packing import CHANNEL
from mtpfix.checkpoint.strict_json import MAX_DIGITS
from mtpfix.model import Json

Grid = tuple[int, int]
"""Bits and group size of packed integers, or outputs and inputs of a block."""

_DEFAULTS: Mapping[str, Json] = {
    "num_bits": 8,
    "type": "int",
    "symmetric": True,
    "group_size": None,
    "dynamic": False,
    "scale_dtype": None,
}
"""Defaults of `QuantizationArgs` in the compressed-tensors package."""


def grid(one: Json, other: Json) -> Grid | None:
    """Return two sizes that metadata states; None where one is no number that a size can be."""
    return (one, other) if _is_size(one) and _is_size(other) else None


def _is_size(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and (value > 0 or value == -1)


def _number(value: Json) -> Json:
    """Return the number that a string holds, if it is one that a size can be."""
    decimal = isinstance(value, str) and value.isdecimal() and len(value) <= MAX_DIGITS
    return int(value) if decimal else value


def is_one(value: Json, allowed: Json) -> bool:
    """Whether a value is the one, one of several, or not a certain one."""
    if isinstance(allowed, dict):
        return not is_one(value, allowed["not"])
    return value in allowed if isinstance(allowed, list) else bool(value == allowed)


def normalised(args: Mapping[str, Json]) -> dict[str, Json]:
    """Quantization arguments with defaults and the inferred strategy filled in."""
    values = {**_DEFAULTS, **{key: value for key, value in args.items() if value is not None}}
    for field in ("num_bits", "group_size"):
        values[field] = _number(values[field])
    for field in ("type", "strategy"):
        if isinstance(values.get(field), str):
            values[field] = values[field].lower()
    if values.get("strategy") is None:
        size = values["group_size"]
        values["strategy"] = "tensor" if size is None else "channel" if size == -1 else "group"
    return values


def packing(values: Mapping[str, Json]) -> Grid | None:
    """Return bits and group size of packed integers, from normalised arguments."""
    size = values["group_size"]
    whole = values["strategy"] == "channel" or size is None
    return grid(values["num_bits"], CHANNEL if whole else size)


def block(values: Mapping[str, Json]) -> Grid | None:
    """Return outputs and inputs of a block of FP8, from normalised arguments."""
    sizes = values.get("block_structure")
    if isinstance(sizes, str):  # as older quantizers wrote it
        sizes = [_number(size) for size in sizes.split("x")]
    return grid(*sizes) if isinstance(sizes, list) and len(sizes) == 2 else None  # noqa: PLR2004
