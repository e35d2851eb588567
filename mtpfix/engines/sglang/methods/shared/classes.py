"""What a method builds for a module that no entry exempts; the table is data. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from mtpfix.engines.policies.context import Context, first
from mtpfix.engines.policies.method import RaisesError, plain
from mtpfix.engines.sglang.methods.records import ClassRow
from mtpfix.model import Decision, Entry, Kind, Module
from mtpfix.quant.arguments import Grid

CAPABILITY = "cuda_capability"
"""The field of a context that holds the compute capability, such as 90."""
_HOPPER = 90
"""The capability where a context says none: matchers are asked without a device."""


def capability(context: Context) -> int:
    """Return the compute capability that modules are built for."""
    stated = context.fields.get(CAPABILITY)
    return stated if isinstance(stated, int) else _HOPPER


def chosen(
    rows: Iterable[ClassRow],
    kind: Kind,
    format: str | None,  # noqa: A002
    context: Context,
) -> ClassRow | None:
    """Return the row that speaks of a kind of module, a format and a release; None: none does."""
    return first((row for row in rows if _holds(row, kind, format, context)), context)


def _holds(row: ClassRow, kind: Kind, format: str | None, context: Context) -> bool:  # noqa: A002
    if row.kinds is not None and kind not in row.kinds:
        return False
    if row.formats is not None and format not in row.formats:
        return False
    return row.capability <= capability(context)


def made(
    module: Module,
    row: ClassRow | None,
    format: str | None = None,  # noqa: A002
    entry: Entry | None = None,
    *,
    packing: Grid | None = None,
    block: Grid | None = None,
) -> Decision:
    """Return the decision that a row stands for; no row leaves a module as it is.

    Raises:
        RaisesError: the release raises instead of building it.
    """
    if row is None:
        return plain(module, entry)
    if row.error is not None:
        raise RaisesError(row.error.replace("{name}", module.name), entry)
    expects = row.expects and row.expects.replace("{format}", format or "")
    return Decision(module, "quantized", row.scheme, expects, entry, packing=packing, block=block)
