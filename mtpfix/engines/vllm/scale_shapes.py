"""Scales of another shape than their parameter: the exception that their loading ends in. Pure.

Source: `PerTensorScaleParameter`, `BlockQuantScaleParameter` and the like in `parameter.py`, the
weight loaders of `linear.py`, and `_load_per_tensor_weight_scale` of `FusedMoE`.
"""

from __future__ import annotations

from math import prod

from mtpfix.checkpoint.precision import Tensors, grain
from mtpfix.engines.vllm.methods.shared.parameters import Params
from mtpfix.engines.vllm.sizes import CUTS
from mtpfix.model import Module

SCALE = "weight_scale"
_PADDED = 4
"""Dimensions of scales of blocks of which every second has one element."""
_OUT_OF_RANGE = (
    "IndexError: Dimension out of range (expected to be in range of [{least}, {most}], "
    "but got {wanted})"
)
_SHORT = "RuntimeError: start (0) + length (…) exceeds dimension size ({size})."


def fits(known: Params, tensors: Tensors, *, agree: bool) -> bool:
    """Return whether the scales of one module on disk have the shape of their parameter.

    What is not told by headers fits. Groups of two formats differ in size.
    """
    weight, scale = tensors.get("weight"), tensors.get(SCALE)
    if weight is None or scale is None or known.grain is None:
        return True
    if known.dimensions is not None and len(scale.shape) != known.dimensions:
        return False
    if known.dimensions == _PADDED and any(size != 1 for size in scale.shape[1::2]):
        return False
    found = grain(weight, scale)
    return found is None or (found == known.grain and (agree or found != "group"))


def error(module: Module, known: Params, shape: tuple[int, ...]) -> str | None:
    """Return the exception for scales of another shape; None: it is not known."""
    if module.kind == "experts":
        size = prod(shape)
        alone = known.grain == "tensor"
        return f"RuntimeError: shape '[]' is invalid for input of size {size}" if alone else None
    columns = {"block": 2, "group": 1}.get(known.grain or "")
    if module.cls != CUTS or columns is None or len(shape) == known.dimensions:
        return "AssertionError: "
    if len(shape) <= columns:
        most = max(len(shape), 1) - 1
        return _OUT_OF_RANGE.format(least=-most - 1, most=most, wanted=columns)
    return _SHORT.format(size=shape[columns])
