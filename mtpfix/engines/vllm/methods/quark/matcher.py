"""quark: the list `exclude`, then a configuration by name, or the one for all. Pure.

Source: `QuarkConfig.get_quant_method` and `should_ignore_layer` (`quark/utils.py`) of each
release. An expert's entry exempts all experts from 0.26 on; before, an exempt module of
experts gets the method of a linear layer, and dies of it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from mtpfix.engines.policies.context import Context, fitting
from mtpfix.engines.policies.method import Decide, RaisesError, Setting, plain
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.methods.quark.exclude import Excluded
from mtpfix.engines.vllm.methods.quark.formats import format_of
from mtpfix.engines.vllm.methods.quark.layers import Layers
from mtpfix.engines.vllm.methods.quark.refusal import weight_of
from mtpfix.engines.vllm.methods.shared.classes import chosen, quantized
from mtpfix.engines.vllm.policy import rules
from mtpfix.model import Decision, Entry, Kind, Module, QuantView

_KINDS: tuple[Kind, ...] = ("linear", "experts")


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part."""
    return _Decider(setting)


def traits(view: QuantView, context: Context) -> Hashable:
    """The classes that a platform has for the configurations."""
    return tuple(
        repr(chosen(kind, replace(view, format=name), context))
        for name in _formats(_Stated(view), context.release)
        for kind in _KINDS
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Stated:
    """Metadata that are the same as others if they are one object: a planner asks often."""

    view: QuantView

    def __hash__(self) -> int:
        return id(self.view.raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Stated) and other.view.raw is self.view.raw


@lru_cache(maxsize=512)
def _formats(stated: _Stated, release: str) -> tuple[str, ...]:
    """Return what the configurations ask for, each format once."""
    view = stated.view
    layers = view.raw.get("layer_quant_config")
    named = layers.values() if isinstance(layers, Mapping) else ()
    different = {repr(each): each for each in (view.raw.get("global_quant_config"), *named)}
    return tuple(sorted({format_of(each, view, release) for each in different.values()}))


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
        row = next(fitting(errors.get(module.kind, ()), self._context), None)
        if row is not None:
            raise RaisesError(row.error, entry)
        if self._online and module.kind == "linear" and "self_attn" in module.name:
            made = quantized(module, replace(self._view, format="quark-mxfp4"), self._context)
            return replace(made, expects="unquantized", because=entry)
        return plain(module, entry)


def _online(view: QuantView, context: Context) -> bool:
    """Whether exempt attention is quantized by the engine, from weights that are not."""
    families = rules("quark_online", context.release)
    weight = weight_of(view)
    fp4 = isinstance(weight, Mapping) and weight.get("dtype") == "fp4"
    return fp4 and context.fields.get("model_type") in families
