"""How an entry is spelled by a quantization method, in its most robust form. Pure.

What reaches everything below a prefix ends at a dot, so that layer 4 is never taken for
layer 43. Spellings hold for every covered release.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

Syntax = Literal["name", "pattern", "wildcard", "component", "part"]
"""How entries of a method are read: as a whole name; as a regular expression where `mark` says
so; with the wildcards of a shell; as whole components of a name; as any part of a name."""

Spell = Callable[[str], str]
"""From a name, or a prefix that ends in a dot, to an entry."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """How the entries of one method are written.

    Attributes:
        name: for one module, by the name that the engine asks about.
        experts: for all weights of routed experts, by the name of their module.
        block: for everything below a prefix; None where the method has no such entry.
        unmapped: for one module, in a spelling that no name mapper touches; None where
            there is none.
        mark: what patterns begin with; None where there are none, or none that can be told.
        unmapped_block: the same for a block, where `block` is touched.
        anywhere: an entry fits every name that holds it, at any place.
        syntax: how an entry is read.
    """

    name: Spell
    experts: Spell
    block: Spell | None = None
    unmapped: Spell | None = None
    mark: str | None = None
    unmapped_block: Spell | None = None
    anywhere: bool = False
    syntax: Syntax = "name"


class Demand(NamedTuple):
    """What an entry demands of every name that it fits.

    Attributes:
        text: what the name begins with, or holds where the method looks for parts of names.
        ends: what may follow: nothing (`whole`), a dot (`component`), or anything (`open`).
    """

    text: str
    ends: Literal["whole", "component", "open"]


_LITERAL = re.compile(r"\^((?:[\w/-]|\\\W)*)(.*)", re.DOTALL)
"""A pattern that is anchored: what it spells out, and the rest."""
_BARE = re.compile(r"(?<!\\)\.(?=\w)")
"""A dot that is not escaped: it is meant for itself where a name goes on behind it."""
_RESTS: Mapping[str, Literal["whole", "component", "open"]] = {
    "$": "whole",
    r"(\..*)?$": "component",
    ".*": "open",
}
_SPECIAL = frozenset("*+?^$()[]{}|\\")
"""Characters that make a key a pattern where no mark does."""


def demand(entry: str, spelled: Spelling) -> Demand | None:
    """Return what an entry demands of a name; None where that is not spelled out.

    Args:
        entry: in one of the spellings that `spelled` writes; of other patterns nothing is said.
        spelled: how its method writes entries.
    """
    if spelled.syntax == "pattern":
        mark = spelled.mark
        bare = mark is not None and entry.startswith(mark)
        return _demand_of_pattern(_BARE.sub(r"\\.", entry) if bare else entry, mark)
    if spelled.syntax == "wildcard":
        plain = re.sub(r"^\[([^\]])\]", r"\1", entry)
        text = plain.removesuffix("*")
        if not set("*?[]").isdisjoint(text):
            return None
        return Demand(text, "whole" if text == plain else "open")
    ends: Mapping[Syntax, Literal["component", "open"]] = {"component": "component", "part": "open"}
    return Demand(entry, ends.get(spelled.syntax, "whole"))


def _demand_of_pattern(entry: str, mark: str | None) -> Demand | None:
    if mark is None and _SPECIAL.isdisjoint(entry):
        return Demand(entry, "whole")
    if mark is not None and not entry.startswith(mark):
        return Demand(entry, "whole")
    found = _LITERAL.fullmatch(entry.removeprefix(mark or ""))
    if found is None or found[2] not in _RESTS:
        return None
    return Demand(re.sub(r"\\(\W)", r"\1", found[1]), _RESTS[found[2]])


def literal_start(pattern: str) -> str | None:
    """Return what all names begin with that a pattern fits; None where it does not spell it out."""
    found = _demand_of_pattern(pattern, "")
    return None if found is None or not pattern.startswith("^") else found.text


def _as_it_is(name: str) -> str:
    return name


NAMES = Spelling(name=_as_it_is, experts=_as_it_is)
"""Entries are whole names."""


def anchored(name: str, mark: str = "") -> str:
    """Return the pattern for a name, or for all below a prefix that ends in a dot.

    Args:
        name: the name or prefix.
        mark: what patterns begin with.
    """
    return f"{mark}^{re.escape(name)}{'.*' if name.endswith('.') else '$'}"


def patterns(experts: Spell, mark: str = "") -> Spelling:
    """Return the spellings of a method that reads regular expressions.

    Args:
        experts: for all weights of routed experts, by the name of their module.
        mark: what patterns begin with; empty: nothing tells them from names.
    """
    return Spelling(
        name=lambda name: name or f"{mark}^$",
        experts=experts,
        block=lambda root: anchored(root, mark),
        unmapped=lambda name: anchored(name, mark),
        mark=mark or None,
        syntax="pattern",
    )


COMPONENTS = replace(NAMES, block=lambda root: root.removesuffix("."), syntax="component")
"""Entries are whole components of names."""
PARTS = replace(NAMES, block=_as_it_is, syntax="part")
"""Entries are any parts of names."""
