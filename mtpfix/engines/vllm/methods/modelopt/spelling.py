"""How ModelOpt's entries are written: with the wildcards of a shell."""

from __future__ import annotations

from dataclasses import replace

from mtpfix.quant.spelling import NAMES


def _set_apart(name: str) -> str:
    """A wildcard that fits the name alone, and that does not begin as the name does."""
    return f"[{name[0]}]{name[1:]}" if name else name


SPELLING = replace(
    NAMES,
    block=lambda root: f"{root}*",
    unmapped=_set_apart,
    unmapped_block=lambda root: f"{_set_apart(root)}*",
    syntax="wildcard",
)
