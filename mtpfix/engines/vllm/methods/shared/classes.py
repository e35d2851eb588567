"""What a method builds for a module that no entry exempts; the table is data. Pure."""

from __future__ import annotations

from mtpfix.engines.policies.context import Context, first
from mtpfix.engines.policies.method import RaisesError, plain
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.records.method import ClassRow
from mtpfix.model import Decision, Entry, Kind, Module, QuantView
from mtpfix.quant.arguments import Grid


def quantized(
    module: Module,
    view: QuantView,
    context: Context,
    entry: Entry | None = None,
    packing: Grid | None = None,
) -> Decision:
    """The decision about a module that is not exempt.

    Args:
        module: the module.
        view: the metadata; its method and format choose the row.
        context: the release and platform.
        entry: what decided, where an entry did.
        packing: bits and group size, where it is built for packed integers.

    Raises:
        RaisesError: the release raises instead of building it.
    """
    return made(module, chosen(module.kind, view, context), view, entry, packing)


def made(
    module: Module,
    row: ClassRow | None,
    view: QuantView,
    entry: Entry | None = None,
    packing: Grid | None = None,
) -> Decision:
    """The decision that a row of the table stands for; none leaves a module as it is.

    Raises:
        RaisesError: the release raises instead of building it.
    """
    if row is None:
        return plain(module)
    if row.error is not None:
        raise RaisesError(row.error.replace("{name}", module.name), entry)
    expects = row.expects
    expects = expects and expects.replace("{format}", view.format or "")
    return Decision(module, "quantized", row.scheme, expects, entry, packing=packing)


def chosen(kind: Kind, view: QuantView, context: Context) -> ClassRow | None:
    """The row of the table that speaks of a kind of module, a format and a release."""
    rows = policy.method(view.method).classes.get(kind, ())
    return first((row for row in rows if _speaks_of(row, view)), context)


def _speaks_of(row: ClassRow, view: QuantView) -> bool:
    return row.formats is None or view.format in row.formats
