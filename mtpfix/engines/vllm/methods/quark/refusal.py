"""quark metadata that vLLM refuses while it reads it, before any module is built. Pure.

Source: `QuarkConfig.from_config` and `__init__`.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from mtpfix.engines.vllm.methods.quark.layers import cache_patterns
from mtpfix.engines.vllm.policy import Context, rules
from mtpfix.model import Json, QuantView

_NOTHING = "AttributeError: 'NoneType' object has no attribute 'get'"
_NO_EXPORT = (
    "ValueError: The export key should be included in the configurations of Quark quantized model"
)
_NO_CACHE = (
    "ValueError: The Quark quantized model has the kv_cache_group parameter setting, but no "
    "kv_cache quantization settings were found in the quantization configuration."
)


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
    names = {group.name for group in view.groups}
    fits = any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
    return None if fits or set(patterns) <= names else _NO_CACHE


def weight_of(view: QuantView) -> Json:
    """The configuration of weights for all layers; None where that is no object."""
    whole = view.raw.get("global_quant_config")
    return whole.get("weight", {}) if isinstance(whole, Mapping) else None
