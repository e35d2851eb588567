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


def params(method: str, expects: str | None) -> Params | None:
    """Parameters of a module that `method` builds for a format; None where that is not known."""
    if expects == "unquantized":
        return _UNQUANTIZED
    row = policy.method(method)["parameters"].get(expects)
    return None if row is None else Params(frozenset(row["needed"]), frozenset(row["more"]))


_UNQUANTIZED = Params(frozenset({"weight"}), frozenset())
