"""GPTQ metadata that vLLM refuses while it reads it, before any module is built. Pure.

Source: `from_config` and `__init__` of `AutoGPTQConfig`, `normalize_and_validate_gptq_desc_act`.
"""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.engines.policies.context import Context, in_releases
from mtpfix.engines.vllm.methods.shared.value_errors import missing, no_bfloat16, validation_error
from mtpfix.model import Json, QuantView
from mtpfix.quant.readers.gptq import SKIP

_ACT = "GPTQ group activation ordering (desc_act=True) is no longer supported"
_NEEDED = (("bits",), ("group_size",), ("desc_act",), ("sym",))
"""Keys that must be there, in the order in which they are looked for."""


def refusal(view: QuantView, context: Context) -> str | None:
    """The exception that reading the metadata ends in, or None."""
    raw, release = view.raw, context.release
    why = missing(raw, _NEEDED)
    if why is None and in_releases(">=0.30", release) and _orders(raw):
        why = _ACT
    if why is None and view.format != "gptq":  # not for Marlin
        if in_releases(">=0.22", release):
            why = f"Unsupported quantization config: bits={raw['bits']}, sym={raw['sym']}"
        else:
            why = no_bfloat16(view, context)
    return validation_error(why)


def _orders(raw: Mapping[str, Json]) -> bool:
    """Whether groups of weights are ordered by activation, somewhere."""
    base, size = raw["desc_act"], raw["group_size"]
    dynamic = raw.get("dynamic")
    rules = dynamic if isinstance(dynamic, Mapping) else {}
    own = [
        (value.get("desc_act", base), value.get("group_size", size))
        for key, value in rules.items()
        if not key.startswith(SKIP) and isinstance(value, Mapping)
    ]
    return any(order and group != -1 for order, group in ((base, size), *own))
