"""GPTQ configurations that vLLM refuses while it reads them, before any module is built. Pure.

Source: `AutoGPTQConfig.from_config` and `normalize_and_validate_gptq_desc_act`.
"""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.engines.vllm.policy import in_releases
from mtpfix.model import Json, QuantView

_ACT = "ValueError: GPTQ group activation ordering (desc_act=True) is no longer supported"
_NEEDED = ("bits", "group_size", "desc_act", "sym")


def refusal(view: QuantView, release: str) -> str | None:
    """The exception that reading the metadata ends in, or None."""
    raw = view.raw
    for key in _NEEDED:
        if key not in raw:
            return f"ValueError: Cannot find any of ['{key}'] in the model's quantization config."
    if in_releases(">=0.30", release) and _orders(raw):
        return _ACT
    if view.format != "gptq" and in_releases(">=0.22", release):
        bits, sym = raw["bits"], raw["sym"]
        return f"ValueError: Unsupported quantization config: bits={bits}, sym={sym}"
    return None


def _orders(raw: Mapping[str, Json]) -> bool:
    """Whether groups of weights are ordered by activation, somewhere."""
    base, size = raw["desc_act"], raw["group_size"]
    dynamic = raw.get("dynamic")
    rules = dynamic if isinstance(dynamic, Mapping) else {}
    own = [
        (value.get("desc_act", base), value.get("group_size", size))
        for key, value in rules.items()
        if not key.startswith("-:") and isinstance(value, Mapping)
    ]
    return any(order and group != -1 for order, group in ((base, size), *own))
