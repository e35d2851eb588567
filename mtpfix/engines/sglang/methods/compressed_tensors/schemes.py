"""Which scheme SGLang takes for a compressed-tensors group; the table is data. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from msgspec import UNSET, UnsetType

from mtpfix.engines.policies.context import Context, first
from mtpfix.engines.sglang.methods.records import SchemeRow, Schemes
from mtpfix.engines.sglang.methods.shared.classes import capability
from mtpfix.engines.sglang.methods.shared.rules import rules, table
from mtpfix.model import Group, Json, Kind, QuantView
from mtpfix.quant.arguments import is_one, normalised

PACKED = "pack-quantized"


@dataclass(frozen=True, slots=True)
class Said:
    """What a group says, as one release reads it.

    Attributes:
        weights: arguments of the weights, normalised.
        inputs: those of the activations; None: there are none, or the format passes them over.
        format: the format that counts for the group.
        own: the format of the group, where the release reads it.
    """

    weights: Mapping[str, Json]
    inputs: Mapping[str, Json] | None
    format: str | None
    own: str | None


def said(group: Group, view: QuantView, release: str) -> Said:
    """Return what a group says, as a release reads it."""
    own = group.format if rules("group_formats", release) else None
    format = own if own is not None else view.format  # noqa: A001
    read = format in rules("activation_formats", release) and group.input_activations
    inputs = normalised(group.input_activations or {}) if read else None
    return Said(normalised(group.weights or {}), inputs, format, own)


def scheme(
    stated: Said, kind: Kind, view: QuantView, targets: Sequence[str], context: Context
) -> SchemeRow | None:
    """Return the first row that fits a group, for a linear layer, a head or routed experts.

    Args:
        stated: what the group says.
        kind: a head is built like a linear layer.
        view: the metadata.
        targets: the texts of all targets.
        context: the release, platform and configuration.
    """
    known = schemes()
    rows = known.experts if kind == "experts" else known.linear
    # Rows of experts go by the format of the whole configuration.
    format = view.format if kind == "experts" else stated.format  # noqa: A001
    active = rules("activation_formats", context.release)
    here = capability(context)

    def holds(row: SchemeRow) -> bool:
        if row.capability > here or (row.pack_quantized and format != PACKED):
            return False
        if row.activation_format and format not in active:
            return False
        return has(row.weights, stated.weights) and has(row.input, stated.inputs)

    row = first(filter(holds, rows), context)
    return row and (_without_linear(row) if row.needs_linear and "Linear" not in targets else row)


def _without_linear(row: SchemeRow) -> SchemeRow:
    return SchemeRow(weights=row.weights, error="KeyError: 'Linear'")


def has(shape: str | UnsetType | None, values: Mapping[str, Json] | None) -> bool:
    """Return whether arguments have a shape: any, none or one of the table."""
    if shape is UNSET:
        return True
    if shape is None or values is None:
        return shape is None and values is None
    wanted = schemes().shapes[shape]
    return all(is_one(values.get(field), allowed) for field, allowed in wanted.items())


@lru_cache(maxsize=1)
def schemes() -> Schemes:
    """Return the table."""
    return table("compressed_tensors/compressed_tensors.json", Schemes)
