"""The tensors of the MTP block, by what a family builds in its newest release. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.engines.opening import Block
from mtpfix.engines.policies import construction
from mtpfix.engines.policies.construction import AnyPolicy
from mtpfix.errors import UnknownError
from mtpfix.model import Json, Listing


def stored(found: Listing, known: AnyPolicy | None, config: Mapping[str, Json]) -> Block:
    """Return the tensors of the MTP block, of which the headers are needed.

    Args:
        found: the names of all tensors.
        known: the family; None: no policy knows it, and nothing of a block either.
        config: the parsed `config.json`.
    """
    if known is None:
        return Block()
    roots: tuple[str, ...] | None = None
    tensors: tuple[str, ...] = ()
    try:
        context = construction.newest(known, config)
        roots = construction.disk_roots(known, context)
        tensors = tuple([name for name in found.shards if name.startswith(roots)])
        modules = construction.modules(known, context, "draft")
    except UnknownError as error:
        return Block(roots, tensors, unclear=error)
    members = (f"{member}.weight" for module in modules for member in module.members)
    alone = tuple([name for name in members if not name.startswith(roots)])
    return Block(roots, tensors, alone)
