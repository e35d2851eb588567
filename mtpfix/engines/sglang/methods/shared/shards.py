"""A fused layer is exempt where its shards are: all of them, or the release raises. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mtpfix.engines.policies.method import ShardsDifferError
from mtpfix.engines.sglang.methods.shared.rules import rules
from mtpfix.model import Entry

Fits = Callable[[str], Entry | None]
"""Says which entry fits a name."""


def of_shards(name: str, shards: Sequence[str], fits: Fits, error: str) -> Entry | None:
    """Return the entry that exempts the first shard; None: none is exempt.

    Args:
        name: of the fused layer.
        shards: the last parts of the names of its shards.
        fits: says which entry fits a name.
        error: what is raised where some shards are exempt.

    Raises:
        ShardsDifferError: some shards are exempt, and others not.
    """
    last = name.rpartition(".")[2]
    first: Entry | None = None
    for number, shard in enumerate(shards):
        found = fits(name.replace(last, shard))
        if number == 0:
            first = found
        elif (found is None) is not (first is None):
            raise ShardsDifferError(error, first or found)
    return first


def differing(name: str, shards: Sequence[str], release: str) -> str:
    """Return the exception of compressed-tensors and quark for shards that differ."""
    begin, speaker = rules("shards_differ", release), rules("speaker", release)
    return (
        f"ValueError: {begin} {list(shards)} in {name}. {speaker} "
        "requires all to use the same scheme."
    )
