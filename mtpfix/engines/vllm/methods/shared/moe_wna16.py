"""Routed experts of AWQ and GPTQ whose sizes Marlin does not take: MoeWNA16 does. Pure.

It is made from the metadata as the file has it: rules of `dynamic` have no say in it, and the
list of AWQ has not been through a name mapper. Source: `check_moe_marlin_supports_layer` in
`quantization/utils/marlin_utils.py`, and `MoeWNA16Config`.
"""

from __future__ import annotations

from mtpfix.engines.policies.context import Context, on_platform
from mtpfix.engines.policies.marlin import GROUPS, HIDDEN, SIZES, TILE
from mtpfix.engines.vllm.policy import rules
from mtpfix.model import Decision, Entry, Json, Module, QuantView
from mtpfix.quant.arguments import Grid, grid

SCHEME = "MoeWNA16Method"


def falls_back(view: QuantView, context: Context) -> bool:
    """Whether experts fall back to it, on one device; the share of each of several is smaller."""
    group = _group_size(view)
    hidden = context.fields.get("hidden_size")
    sizes = (context.fields.get(key) for key in SIZES)
    width = _number(next((size for size in sizes if size is not None), None))
    if on_platform(context, "rocm") or not isinstance(group, int) or group not in GROUPS:
        return True
    if isinstance(hidden, int) and hidden % HIDDEN:
        return True
    padded = rules("marlin_pads_experts", context.release) and not view.raw.get("desc_act")
    unit = (max(group, 1) if padded else max(TILE, group)) or 1
    return width is not None and width % unit != 0


def packing(view: QuantView) -> Grid | None:
    """Bits and group size of what no rule changes, as AWQ and GPTQ state them."""
    return grid(view.raw.get("w_bit", view.raw.get("bits")), _group_size(view))


def _group_size(view: QuantView) -> Json:
    return view.raw.get("q_group_size", view.raw.get("group_size"))


def _number(size: Json) -> int | None:
    """The first of several sizes, or the only one; None where it is no number."""
    first = size[0] if isinstance(size, list) and size else size
    return first if isinstance(first, int) else None


def fallback(module: Module, view: QuantView) -> Decision:
    """The decision for experts that fall back and that no entry exempts."""
    return Decision(module, "quantized", SCHEME, expects=view.method, packing=packing(view))


def exempting(module: Module, view: QuantView) -> Entry | None:
    """The entry of AWQ's list that exempts experts which fall back, in the file's spelling."""
    return next((e for e in view.ignore if not e.derived and e.spelling in module.name), None)
