"""What a configuration of quark asks for, by name of format; the table is data. Pure.

Source: the tests `_is_fp8_w8a8` and the like of `QuarkConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET

from mtpfix.engines.policies.quark_export import OUTPUTS
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.policy import rules
from mtpfix.engines.vllm.records.method import FormatRow
from mtpfix.model import Json, QuantView
from mtpfix.quant.arguments import is_one


def format_of(config: Json, view: QuantView, release: str) -> str:
    """The name of what a configuration asks for, as the table of formats has it.

    Args:
        config: one configuration, for all layers or for some.
        view: the metadata that it is part of.
        release: the release that reads it.
    """
    value = config if isinstance(config, Mapping) else {}
    if any(value.get(key) for key in (OUTPUTS, "bias")):
        return "outputs"
    sides = {"weight": value.get("weight"), "input": value.get("input_tensors")}
    if rules("quark_unwraps", release):
        sides = {side: _unwrapped(spec) for side, spec in sides.items()}
    known = policy.method("quark")
    found = next((row for row in known.formats if _fits(row, sides, known.shapes)), None)
    if found is None or (found.packed is not None and _packing(view) not in found.packed):
        return "other"
    return found.format


def _packing(view: QuantView) -> Json:
    export = view.raw.get("export")
    return export.get("pack_method") if isinstance(export, Mapping) else None


def _unwrapped(spec: Json) -> Json:
    """A list of one, without the list."""
    return spec[0] if isinstance(spec, list) and len(spec) == 1 else spec


def _fits(row: FormatRow, sides: Mapping[str, Json], shapes: Mapping[str, Json]) -> bool:
    wanted = {"weight": row.weight, "input": row.input}
    return all(
        _has(spec, wanted[side], shapes)
        for side, spec in sides.items()
        if wanted[side] is not UNSET
    )


def _has(value: Json, wanted: Json, shapes: Mapping[str, Json]) -> bool:
    """Whether one side of a configuration has a shape: none, one or a list of them."""
    if wanted is None:
        return value is None
    if isinstance(wanted, list):
        parts = value if isinstance(value, list) and len(value) == len(wanted) else ()
        return bool(parts) and all(map(lambda v, w: _has(v, w, shapes), parts, wanted))
    if wanted == "list":
        return isinstance(value, list)
    if not isinstance(value, Mapping):
        return False
    return all(is_one(value.get(field), allowed) for field, allowed in shapes[wanted].items())
