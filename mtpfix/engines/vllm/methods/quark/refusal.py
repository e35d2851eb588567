"""quark metadata that vLLM refuses while it reads it, before any module is built. Pure.

Source: `QuarkConfig.from_config` and `__init__`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from mtpfix.engines.policies.context import Context
from mtpfix.engines.vllm.methods.quark.layers import cache_patterns, same
from mtpfix.engines.vllm.policy import rules
from mtpfix.model import Json, QuantView

_NOTHING = "AttributeError: 'NoneType' object has no attribute 'get'"
_NO_EXPORT = (
    "ValueError: The export key should be included in the configurations of Quark quantized model"
)
_NO_CACHE = (
    "ValueError: The Quark quantized model has the kv_cache_group parameter setting, but no "
    "kv_cache quantization settings were found in the quantization configuration."
)
_UNLIKE_CACHE = (
    "ValueError: The quantization method used for kv_cache should be the same, but the "
    "quantization method for the kv_cache layer in the config is different."
)
_EMPTY_CACHE = "ValueError: The kv_cache quantization configuration is empty."
_OUTPUTS = "output_tensors"


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
    export = view.raw.get("export")
    if not isinstance(export, Mapping):
        return _NO_EXPORT
    if not isinstance(export.get("kv_cache_group"), list | str):
        return "TypeError: object of type 'NoneType' has no len()"
    patterns = cache_patterns(view)
    return _refused_cache(view, patterns) if patterns else None


def _refused_cache(view: QuantView, patterns: Sequence[str]) -> str | None:
    """The exception that layers with a quantized cache end in: all must say the same of it."""
    layers = view.raw.get("layer_quant_config")
    named = layers if isinstance(layers, Mapping) else {}
    cached = [config for name, config in named.items() if _fits(name, patterns)]
    if not cached:
        return _NO_CACHE
    for config in cached:
        if not (_OUTPUTS in config and _OUTPUTS in cached[0]):
            return f"KeyError: {_OUTPUTS!r}"
        if not same(config[_OUTPUTS], cached[0][_OUTPUTS]):
            return _UNLIKE_CACHE
    return _EMPTY_CACHE if cached[0][_OUTPUTS] is None else None


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def weight_of(view: QuantView) -> Json:
    """The configuration of weights for all layers; None where that is no object."""
    whole = view.raw.get("global_quant_config")
    return whole.get("weight", {}) if isinstance(whole, Mapping) else None
