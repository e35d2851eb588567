"""quark: the list `exclude`, then a configuration by name, or the one for all. Pure.

Source: `QuarkConfig.get_quant_method` and `should_ignore_layer` (`quark/utils.py`) of each
release. An expert's entry exempts all experts from 0.26 on; before, an exempt module of
experts gets the method of a linear layer, and dies of it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.methods.base import (
    Decide,
    RaisesError,
    Setting,
    mapped,
    own_name,
    plain,
)
from mtpfix.engines.vllm.methods.built import chosen, quantized
from mtpfix.engines.vllm.methods.quark_formats import format_of
from mtpfix.engines.vllm.methods.quark_layers import Layers, cache_patterns
from mtpfix.engines.vllm.methods.quark_list import Excluded
from mtpfix.engines.vllm.policy import Context, rules
from mtpfix.model import Decision, Entry, Json, Kind, Module, QuantView

_KINDS: tuple[Kind, ...] = ("linear", "experts")
_NOTHING = "AttributeError: 'NoneType' object has no attribute 'get'"
_NO_EXPORT = (
    "ValueError: The export key should be included in the configurations of Quark quantized model"
)
_NO_CACHE = (
    "ValueError: The Quark quantized model has the kv_cache_group parameter setting, but no "
    "kv_cache quantization settings were found in the quantization configuration."
)


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part.

    Raises:
        RaisesError: the engine refuses the metadata as a whole.
    """
    refused = _refusal(setting.view, setting.context)
    if refused is not None:
        raise RaisesError(refused)
    return _Decider(setting)


COMPARES = "names are compared whole, without wildcards, unless they begin with `re:`"
probes = own_name
renamed = mapped


def exact(entry: Entry) -> bool:
    """Whether the entry is no pattern, nor about an expert: that stands for all of them."""
    return not entry.text.startswith("re:") and "experts" not in entry.text


def listed(entries: Iterable[Entry], release: str) -> Excluded:
    """The entries, as they are compared with names.

    Raises:
        PatternError: one of them is no valid pattern.
    """
    found = Excluded(entries, release)
    found.demand_valid()
    return found


def traits(view: QuantView, context: Context) -> Hashable:
    """The classes that a platform has for the configurations."""
    layers = view.raw.get("layer_quant_config")
    named = layers.values() if isinstance(layers, Mapping) else ()
    formats = {
        format_of(config, view, context.release)
        for config in (view.raw.get("global_quant_config"), *named)
    }
    return tuple(
        repr(chosen(kind, replace(view, format=name), context))
        for name in sorted(formats)
        for kind in _KINDS
    )


class _Decider:
    def __init__(self, setting: Setting) -> None:
        self._view = setting.view
        self._context = setting.context
        self._packed = setting.packed
        self._excluded = Excluded(setting.view.ignore, setting.context.release)
        self._layers = Layers(setting.view, setting.packed, setting.context.release)
        self._online = _online(setting.view, setting.context)

    def __call__(self, module: Module) -> Decision:
        entry = self._excluded.about(module, self._packed)
        if entry is not None:
            return self._exempt(module, entry)
        if module.kind not in ("linear", "experts"):
            return plain(module)
        found = self._layers.of(module.name)
        name = format_of(found.config, self._view, self._context.release)
        view = replace(self._view, format=name)
        return quantized(module, view, self._context, found.entry)

    def _exempt(self, module: Module, entry: Entry) -> Decision:
        """What an exempt module becomes: some are quantized while they are loaded."""
        errors = policy.method("quark").exempt
        row = next(policy.fitting(errors.get(module.kind, ()), self._context), None)
        if row is not None:
            raise RaisesError(row.error, entry)
        if self._online and module.kind == "linear" and "self_attn" in module.name:
            made = quantized(module, replace(self._view, format="quark-mxfp4"), self._context)
            return replace(made, expects="unquantized", because=entry)
        return plain(module, entry)


def _online(view: QuantView, context: Context) -> bool:
    """Whether exempt attention is quantized by the engine, from weights that are not."""
    families = rules("quark_online", context.release)
    weight = _weight(view)
    fp4 = isinstance(weight, Mapping) and weight.get("dtype") == "fp4"
    return fp4 and context.fields.get("model_type") in families


def _weight(view: QuantView) -> Json:
    whole = view.raw.get("global_quant_config")
    return whole.get("weight", {}) if isinstance(whole, Mapping) else None


def _refusal(view: QuantView, context: Context) -> str | None:
    """The exception that reading the metadata ends in, or None."""
    refused = _refused_export(view)
    if refused is not None:
        return refused
    families = rules("quark_online", context.release)
    if context.fields.get("model_type") in families and not isinstance(_weight(view), Mapping):
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
