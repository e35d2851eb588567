"""auto-round (INC): the bits of a module by its name, its block, or the default. Pure.

Source: `INCConfig.get_quant_method` of each release, and its schemes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from mtpfix.engines.policies.context import Context, first, fitting
from mtpfix.engines.policies.layer_bits import LayerBits
from mtpfix.engines.policies.method import Decide, RaisesError, Setting, plain
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.methods.auto_round.layers import Layers
from mtpfix.engines.vllm.methods.shared.classes import made
from mtpfix.engines.vllm.records.method import ClassRow, Method, RefusesRow
from mtpfix.model import Decision, Json, Kind, Module, QuantView
from mtpfix.quant.arguments import grid, is_one

_KINDS: tuple[Kind, ...] = ("linear", "lm_head", "experts", "embedding")
_Row = TypeVar("_Row", ClassRow, RefusesRow)


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part.

    Raises:
        PatternError: there are too many patterns.
    """
    view, context = setting.view, setting.context
    layers = Layers(view, setting.packed, context.release)

    def decide(module: Module) -> Decision:
        entry = layers.exempting(module.name)
        if entry is not None:
            row = first(_known().exempt.get(module.kind, ()), context)
            if row is not None:
                raise RaisesError(row.error, entry)
            return plain(module, entry)
        said = layers.of(module)
        if not said.quantized:
            return plain(module, said.entry)
        facts = _facts(view, said)
        packing = grid(said.bits, said.group_size) if facts["data"] == "int" else None
        return made(module, _class(module.kind, facts, context), view, said.entry, packing)

    return decide


def refusal(view: QuantView, context: Context) -> str | None:
    """Return what vLLM raises for the configuration as a whole; None: nothing."""
    row = _first(_known().refuses, _facts(view, _whole(view)), context)
    return None if row is None else row.error


def traits(view: QuantView, context: Context) -> Hashable:
    """The classes that a platform has for the bits that are asked for."""
    whole = _whole(view)
    extra = view.raw.get("extra_config")
    values = extra.values() if isinstance(extra, Mapping) else ()
    said = {repr(whole): whole}
    for value in values:
        bits, size, sym = (value.get(key, old) for key, old in zip(_FIELDS, whole, strict=False))
        said.setdefault(repr((bits, size, sym)), LayerBits(bits, size, sym))
    facts = [_facts(view, one) for one in said.values() if one.quantized]
    return tuple(_class(kind, one, context) for one in facts for kind in _KINDS)


_FIELDS = ("bits", "group_size", "sym")


def _whole(view: QuantView) -> LayerBits:
    """What is said about every layer that no key is about."""
    raw = view.raw
    return LayerBits(raw.get("bits"), raw.get("group_size"), raw.get("sym", True))


def _known() -> Method:
    return policy.method("auto-round")


def _class(kind: Kind, facts: Mapping[str, Json], context: Context) -> ClassRow | None:
    """The row of the class for a kind of module; a head is built like a linear layer."""
    rows = _known().classes.get("linear" if kind == "lm_head" else kind, ())
    return _first(rows, facts, context)


def _first(rows: Iterable[_Row], facts: Mapping[str, Json], context: Context) -> _Row | None:
    """The first row that fits a release, a platform and what is asked for."""
    return next((row for row in fitting(rows, context) if _is(row.is_, facts)), None)


def _is(wanted: Mapping[str, Json], facts: Mapping[str, Json]) -> bool:
    return all(is_one(facts.get(field), allowed) for field, allowed in wanted.items())


def _facts(view: QuantView, said: LayerBits) -> dict[str, Json]:
    """What the choice of a class rests on, by the names that the table has for it."""
    raw = view.raw
    packing = raw.get("packing_format", "default")
    backend = raw.get("backend", raw.get("vllm_backend", "auto"))
    kind = raw.get("data_type", "int")
    words = f"{packing} {backend}"
    pair = isinstance(said.group_size, list)
    return {
        "bits": said.bits,
        "group": "pair" if pair else said.group_size,
        "sym": said.sym if "sym" in raw else "absent" if said.entry is None else said.sym,
        "packing": packing,
        "backend": backend,
        "marlin": backend == "auto" or "marlin" in str(backend),
        "data": "mx" if "mx_fp" in str(kind) else "fp" if kind == "fp8" else kind,
        "layout": "gptq"
        if "gptq" in words or packing in ("default", None)
        else "awq"
        if "awq" in words
        else "other",
    }
