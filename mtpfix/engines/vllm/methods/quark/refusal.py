"""quark metadata that vLLM refuses while it reads it, before any module is built. Pure.

Source: `QuarkConfig.from_config` and `__init__`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from mtpfix.engines.policies import quark_export
from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.quark_export import EMPTY_CACHE, NO_CACHE, OUTPUTS, UNLIKE_CACHE
from mtpfix.engines.vllm.methods.quark.layers import cache_patterns, same
from mtpfix.engines.vllm.policy import rules
from mtpfix.model import Json, QuantView

_NOTHING = "AttributeError: 'NoneType' object has no attribute 'get'"


def refusal(view: QuantView, context: Context) -> str | None:
    """The exception that reading the metadata ends in, or None."""
    refused = _refused_export(view)
    if refused is not None:
        return refused
    families = rules("quark_online", context.release)
    if context.fields.get("model_type") in families and not isinstance(weight_of(view), Mapping):
        return _NOTHING
    if view.raw.get("exclude") is None:
        return "TypeError: 'NoneType' object is not iterable"
    return _NOTHING if view.raw.get("global_quant_config") is None else None


def _refused_export(view: QuantView) -> str | None:
    """The exception that the key `export` ends in, or None."""
    refused = quark_export.refusal(view)
    patterns = cache_patterns(view)
    return _refused_cache(view, patterns) if patterns and refused is None else refused


def _refused_cache(view: QuantView, patterns: Sequence[str]) -> str | None:
    """The exception that layers with a quantized cache end in: all must say the same of it."""
    layers = view.raw.get("layer_quant_config")
    named = layers if isinstance(layers, Mapping) else {}
    cached = [config for name, config in named.items() if _fits(name, patterns)]
    if not cached:
        return NO_CACHE
    for config in cached:
        if not (OUTPUTS in config and OUTPUTS in cached[0]):
            return f"KeyError: {OUTPUTS!r}"
        if not same(config[OUTPUTS], cached[0][OUTPUTS]):
            return UNLIKE_CACHE
    return EMPTY_CACHE if cached[0][OUTPUTS] is None else None


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def weight_of(view: QuantView) -> Json:
    """The configuration of weights for all layers; None where that is no object."""
    whole = view.raw.get("global_quant_config")
    return whole.get("weight", {}) if isinstance(whole, Mapping) else None
