"""A target and its draft from two checkpoints, as one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from mtpfix.checkpoint.inventory import Inventory
from mtpfix.checkpoint.strict import shown
from mtpfix.errors import UnknownError
from mtpfix.model import Checkpoint, Problem

BESIDE = "draft/"
"""Before the names of the draft's shards; a shard of the target has no folder."""


def paired(
    target: Checkpoint, draft: Checkpoint, roots: tuple[str, ...], shared: Iterable[str]
) -> Checkpoint:
    """The trunk of one checkpoint with the MTP block of another.

    Args:
        target: holds the trunk; an MTP block that it has is left out, since nothing loads it.
        draft: holds the MTP block; its trunk is left out.
        roots: what the names of the tensors of an MTP block begin with.
        shared: modules outside the block that the draft loads: embedding and head.

    Raises:
        UnknownError: both have a shared module, each stored in its own way.
    """
    theirs = {*_brought(Inventory(target), Inventory(draft), shared)}
    kept = {n: s for n, s in draft.listing.shards.items() if n.startswith(roots) or n in theirs}
    trunk = {n: s for n, s in target.listing.shards.items() if not n.startswith(roots)}
    shards = {**trunk, **{name: f"{BESIDE}{shard}" for name, shard in kept.items()}}
    headers = {
        f"{BESIDE}{shard}": {name: entry for name, entry in header.items() if name in kept}
        for shard, header in draft.headers.items()
    }
    return Checkpoint(
        replace(target.listing, shards=shards),
        {**target.headers, **headers},
        (*target.problems, *_problems(draft, roots)),
    )


def _brought(target: Inventory, draft: Inventory, shared: Iterable[str]) -> Iterator[str]:
    """Names of tensors of shared modules that only the draft's checkpoint has."""
    for module in shared:
        if module not in target:
            yield from (name for _, name in draft.tensor_names(module))
        elif module in draft and draft.one(module) != target.one(module):
            raise UnknownError(
                f"{shown(module)} is stored in one way with the target, and in another with the "
                "draft",
                "use a draft whose embedding and head are those of the target",
            )


def _problems(draft: Checkpoint, roots: tuple[str, ...]) -> Iterator[Problem]:
    """What is wrong with the files that the MTP block is in."""
    for problem in draft.problems:
        if any(name.startswith(roots) for name in problem.tensors):
            message = f"draft: {problem.message}"
            yield replace(problem, message=message, file=f"{BESIDE}{problem.file}")
