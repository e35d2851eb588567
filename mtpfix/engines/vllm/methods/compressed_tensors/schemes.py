"""Which scheme vLLM takes for a compressed-tensors group; the table is data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from mtpfix.engines.policies.context import Context, first
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.records.method import SchemeRow, VariantRow
from mtpfix.model import Group, Json, Kind
from mtpfix.quant import arguments
from mtpfix.quant.arguments import Grid, is_one, normalised

_NONE = SchemeRow(weights="", error="ValidationError: the group has no weights")


@dataclass(frozen=True, slots=True)
class Scheme:
    """The class that vLLM picks, or the exception that it raises instead."""

    name: str | None = None
    error: str | None = None
    expects: str | None = None
    """Format on disk that the scheme loads, as in `data/formats.json`; None: not known."""
    packing: Grid | None = None
    """Bits and group size of packed integers, where it loads them."""
    block: Grid | None = None
    """Outputs and inputs of a block, where it loads FP8 in blocks."""


def scheme(group: Group, default_format: str | None, kind: Kind, context: Context) -> Scheme:
    """The scheme of one group for a module of `kind`.

    Args:
        group: a group that has weights.
        default_format: format of the whole configuration, used where the group has none.
        kind: a head is built like a linear layer.
        context: the release and platform.
    """
    table = policy.schemes()
    rows: tuple[SchemeRow, ...] = getattr(table, "linear" if kind == "lm_head" else kind)
    shape = _Shape(group, group.format or default_format)
    row = first((row for row in rows if shape.fits(row)), context) or _NONE
    expects = row.expects
    if expects is not None:
        expects = expects.format(strategy=normalised(group.weights or {})["strategy"])
        variants = (v for v in table.variants if expects in v.of and kind in (v.kinds or (kind,)))
        variant = first((v for v in variants if shape.has(v)), context)
        expects += "" if variant is None else variant.suffix
    values = normalised(group.weights or {})
    packing = arguments.packing(values) if (expects or "").startswith("int-pack") else None
    block = arguments.block(values) if (expects or "").startswith("fp8-block") else None
    return Scheme(row.scheme, row.error, expects, packing, block)


@dataclass(frozen=True, slots=True)
class _Shape:
    group: Group
    format: str | None

    def fits(self, row: SchemeRow) -> bool:
        """Whether the conditions of `row` hold for this group."""
        if row.format is not None and self.format not in row.format:
            return False
        if row.activation_format and not is_activation_format(self.format):
            return False
        bits = row.bits
        if bits is not None and normalised(self.group.weights or {})["num_bits"] not in bits:
            return False
        return self.has(row) and self._has(row.output, self.group.output_activations)

    def has(self, row: SchemeRow | VariantRow) -> bool:
        """Whether the weights and inputs of this group have the shapes of `row`."""
        weights, inputs = self.group.weights, self.group.input_activations
        return self._has(row.weights, weights) and self._has(row.input, inputs)

    def _has(self, shape: str | UnsetType | None, args: Mapping[str, Json] | None) -> bool:
        if shape is UNSET:
            return True
        if shape is None or args is None:
            return shape is None and args is None
        values = normalised(args)
        wanted = policy.schemes().shapes[shape]
        return all(is_one(values.get(field), allowed) for field, allowed in wanted.items())


def is_activation_format(format: str | None) -> bool:  # noqa: A002
    """Whether a format stands for quantized activations too."""
    return format in policy.schemes().activation_formats
