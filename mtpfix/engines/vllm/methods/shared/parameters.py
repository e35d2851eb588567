"""Which parameters a built module has; the table is data. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from mtpfix.engines.vllm import policy


@dataclass(frozen=True, slots=True)
class Params:
    """The parameters that a module of one format has, by suffix."""

    needed: frozenset[str]
    """Those that must be on disk, or stay uninitialised."""
    more: frozenset[str]
    """Those that have a default, or that only some configurations have."""
    packed: bool = False
    """Whether `weight` holds several values in one, so that its shape is another."""
    stored: str | None = None
    """The format on disk, where the built module has a name of its own."""
    always: frozenset[str] = frozenset()
    """Those of `more` that every module has."""
    either: frozenset[str] = frozenset()
    """Those of which experts have one value for gate and up."""
    grain: str | None = None
    """What one value of `weight_scale` covers."""
    dimensions: int | None = None
    """How many dimensions `weight_scale` has on disk, where the grain does not tell."""


def params(method: str, expects: str | None) -> Params | None:
    """Parameters of a module that `method` builds for a format; None where that is not known."""
    if expects == "unquantized":
        return _UNQUANTIZED
    row = policy.method(method).parameters.get(expects or "")
    if row is None:
        return None
    return Params(
        frozenset(row.needed),
        frozenset(row.more),
        packed=row.packed,
        stored=row.stored,
        always=frozenset(row.always),
        either=frozenset(row.either),
        grain=row.grain,
        dimensions=row.dimensions,
    )


_UNQUANTIZED = Params(frozenset({"weight"}), frozenset())
