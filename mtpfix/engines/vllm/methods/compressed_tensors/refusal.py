"""Configurations that vLLM refuses while it reads them, before any module is built. Pure.

Source: `CompressedTensorsConfig.from_config`, and `QuantizationArgs` of compressed-tensors.
"""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.engines.policies.context import in_releases
from mtpfix.engines.vllm.methods.compressed_tensors.schemes import is_activation_format
from mtpfix.model import Group, Json, QuantView
from mtpfix.quant.arguments import normalised

_NO_LONGER = (
    "ValueError: Compressed-tensors group/dynamic activation ordering "
    "(actorder={actorder!r}) is no longer supported"
)
_TYPES = ("int", "float")
_STRATEGIES = ("tensor", "channel", "group", "block", "token", "tensor_group", "attn_head")


def refusal(view: QuantView, release: str) -> str | None:
    """The exception that reading the metadata ends in, or None."""
    if view.null:
        return "TypeError: 'NoneType' object is not iterable"
    if "config_groups" in view.raw and view.raw["config_groups"] is None:
        return "AttributeError: 'NoneType' object has no attribute 'items'"
    found = (_group(group, group.format or view.format, release) for group in view.groups)
    return next((error for error in found if error is not None), None)


def _group(group: Group, format: str | None, release: str) -> str | None:  # noqa: A002
    if group.weights is None:
        return "ValidationError: 1 validation error for QuantizationArgs"
    for args in (group.weights, group.input_activations, group.output_activations):
        if args is not None and not _valid(args):
            return "ValidationError: 1 validation error for QuantizationArgs"
    actorder = group.weights.get("actorder")
    if actorder in ("group", "dynamic", True) and in_releases(">=0.30", release):
        return _NO_LONGER.format(actorder=actorder)
    weight_only = is_activation_format(format) and group.input_activations is None
    return (
        "AssertionError: " if weight_only and normalised(group.weights)["type"] != "float" else None
    )


def _valid(args: Mapping[str, Json]) -> bool:
    """Whether the values are such, and fit each other, as `QuantizationArgs` demands."""
    values = normalised(args)
    if not (_is_number(values["num_bits"]) and values["type"] in _TYPES):
        return False
    if values["strategy"] not in _STRATEGIES or values["dynamic"] not in (True, False, "local"):
        return False
    size = values["group_size"]
    grouped = values["strategy"] in ("group", "tensor_group")
    positive = _is_number(size) and size > 0
    return positive if grouped else not positive


def _is_number(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
