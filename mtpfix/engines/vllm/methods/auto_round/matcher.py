"""auto-round (INC): the bits of a module by its name, its block, or the default. Pure.

Source: `INCConfig.get_quant_method` of each release, and its schemes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.methods.auto_round.layers import Layers, Said
from mtpfix.engines.vllm.methods.base import Decide, RaisesError, Setting, plain
from mtpfix.engines.vllm.methods.shared.classes import is_one, made
from mtpfix.engines.vllm.policy import Context, Row, fitting
from mtpfix.model import Decision, Json, Module, QuantView

_KINDS = ("linear", "lm_head", "experts", "embedding")


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part.

    Raises:
        RaisesError: the engine refuses the metadata as a whole.
        PatternError: there are too many patterns.
    """
    view, context = setting.view, setting.context
    refused = _first("refuses", "", _facts(view, _whole(view)), context)
    if refused is not None:
        raise RaisesError(refused["error"])
    layers = Layers(view, setting.packed, context.release)

    def decide(module: Module) -> Decision:
        entry = layers.exempting(module.name)
        if entry is not None:
            row = _first("exempt", module.kind, {}, context)
            if row is not None:
                raise RaisesError(row["error"], entry)
            return plain(module, entry)
        said = layers.of(module)
        if not said.quantized:
            return plain(module, said.entry)
        row = _first("classes", module.kind, _facts(view, said), context)
        return made(module, row, view, said.entry)

    return decide


def traits(view: QuantView, context: Context) -> Hashable:
    """The classes that a platform has for the bits that are asked for."""
    whole = _whole(view)
    extra = view.raw.get("extra_config")
    values = extra.values() if isinstance(extra, Mapping) else ()
    said = {repr(whole): whole}
    for value in values:
        bits, size, sym = (value.get(key, old) for key, old in zip(_FIELDS, whole, strict=False))
        said.setdefault(repr((bits, size, sym)), Said(bits, size, sym))
    facts = [_facts(view, one) for one in said.values() if one.quantized]
    rows = [_first("classes", kind, one, context) for one in facts for kind in _KINDS]
    return repr(rows)


_FIELDS = ("bits", "group_size", "sym")


def _whole(view: QuantView) -> Said:
    """What is said about every layer that no key is about."""
    raw = view.raw
    return Said(raw.get("bits"), raw.get("group_size"), raw.get("sym", True))


def _first(table: str, kind: str, facts: Mapping[str, Json], context: Context) -> Row | None:
    """The first row of a table that fits a release, a platform and what is asked for."""
    found = policy.method("auto-round")[table]
    # A head is built like a linear layer.
    kind = "linear" if kind == "lm_head" and table == "classes" else kind
    rows = found.get(kind, ()) if isinstance(found, Mapping) else found
    fit = (row for row in fitting(rows, context) if _is(row.get("is", {}), facts))
    return next(fit, None)


def _is(wanted: Mapping[str, Json], facts: Mapping[str, Json]) -> bool:
    return all(is_one(facts.get(field), allowed) for field, allowed in wanted.items())


def _facts(view: QuantView, said: Said) -> dict[str, Json]:
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
