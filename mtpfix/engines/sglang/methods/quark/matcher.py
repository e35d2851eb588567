"""quark: the list `exclude`, then a configuration by name, or the one for all. Pure.

Source: `QuarkConfig.get_quant_method` of each release.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from mtpfix.engines.policies import quark_export
from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import Decide, Setting, plain
from mtpfix.engines.policies.quark_export import EMPTY_CACHE, NO_CACHE, OUTPUTS, UNLIKE_CACHE
from mtpfix.engines.sglang.methods.quark.exclude import Excluded
from mtpfix.engines.sglang.methods.quark.layers import Layers, kv_cache, same
from mtpfix.engines.sglang.methods.records import Quark
from mtpfix.engines.sglang.methods.shared.classes import chosen, made
from mtpfix.engines.sglang.methods.shared.rules import rules, table
from mtpfix.model import Decision, Json, Module, QuantView
from mtpfix.quant.arguments import is_one


def decider(setting: Setting) -> Decide:
    """Return the decisions of one release for one part.

    Raises:
        PatternError: too many entries are patterns.
    """
    view, context, packed = setting.view, setting.context, setting.packed
    excluded = Excluded(view.ignore, context.release)
    layers = Layers(view, packed, context.release)
    asks_all = rules("quark_asks_all", context.release)

    def decide(module: Module) -> Decision:
        entry = excluded.about(module.name, packed)
        if entry is not None:
            return plain(module, entry)
        built = module.kind in ("linear", "experts")
        if not built and not asks_all:
            return plain(module)
        found = layers.of(module.name, module.cls)
        if not built:
            return plain(module)
        name = format_of(found.config)
        row = chosen(_table().classes, module.kind, name, context)
        return made(module, row, name, found.entry)

    return decide


def format_of(config: Json) -> str:
    """Return the name of what a configuration asks for."""
    value = config if isinstance(config, Mapping) else {}
    if any(value.get(key) for key in (OUTPUTS, "bias")):
        return "outputs"
    weight, inputs = value.get("weight"), value.get("input_tensors")
    fits = (
        row.format
        for row in _table().formats
        if _has(weight, row.weight) and _has(inputs, row.input)
    )
    return next(fits, "other")


def _has(value: Json, shape: str | None) -> bool:
    if shape is None:
        return True
    wanted = _table().shapes[shape]
    return isinstance(value, Mapping) and all(
        is_one(value.get(field), allowed) for field, allowed in wanted.items()
    )


def refusal(view: QuantView, context: Context) -> str | None:
    """Return the exception that reading the metadata ends in, or None."""
    return next(_refusals(view), None)


def _refusals(view: QuantView) -> Iterator[str]:
    refused = quark_export.refusal(view)
    if refused is not None:
        yield refused
    cached = kv_cache(view)
    if cached:
        yield from _of_cache(view, cached)
    if view.null:
        yield "TypeError: 'NoneType' object is not iterable"


def _of_cache(view: QuantView, cached: tuple[Json, ...]) -> Iterator[str]:
    layers = view.raw.get("layer_quant_config")
    named = layers if isinstance(layers, Mapping) else {}
    try:
        groups = set(cached)
    except TypeError as error:  # as there
        yield f"TypeError: {error}"
        return
    if not groups <= named.keys():
        yield NO_CACHE
        return
    configs = [named[name] for name in cached]
    if any(not same(config, configs[0]) for config in configs):
        yield UNLIKE_CACHE
    if configs[0].get(OUTPUTS) is None:
        yield EMPTY_CACHE


@lru_cache(maxsize=1)
def _table() -> Quark:
    return table("quark/quark.json", Quark)
