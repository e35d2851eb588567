"""The family of a checkpoint, and the tensors of its MTP block by what that builds. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from mtpfix.engines.opening import Block
from mtpfix.engines.policies import construction
from mtpfix.engines.policies.construction import AnyPolicy
from mtpfix.engines.policies.family import Index
from mtpfix.errors import UnknownError
from mtpfix.model import Json, Listing

_Policy = TypeVar("_Policy", bound=AnyPolicy)


def recognised(
    index: Index,
    policy_of: Callable[[str], _Policy],
    found: Listing,
    config: Mapping[str, Json],
) -> tuple[_Policy | None, Block]:
    """Return the family, and the tensors of its MTP block.

    Of several families that share an architecture, the tensors tell which one it is.

    Args:
        index: the families of an engine.
        policy_of: the policy of a family, by its name.
        found: the names of all tensors.
        config: the parsed `config.json`.
    """
    family = index.recognise(config)
    if family is None:
        return None, Block()
    block = stored(found, policy_of(family), config)
    told = index.recognise(config, block.tensors) or family
    if told != family:
        block = stored(found, policy_of(told), config)
    return policy_of(told), block


def stored(found: Listing, known: AnyPolicy, config: Mapping[str, Json]) -> Block:
    """Return the tensors of the MTP block, of which the headers are needed.

    Args:
        found: the names of all tensors.
        known: the family.
        config: the parsed `config.json`.
    """
    roots: tuple[str, ...] | None = None
    tensors: tuple[str, ...] = ()
    try:
        context = construction.newest(known, config)
        context = construction.spelled(known, context, found.shards)
        roots = construction.disk_roots(known, context)
        tensors = tuple([name for name in found.shards if name.startswith(roots)])
        modules = construction.modules(known, context, "draft")
    except UnknownError as error:
        return Block(roots, tensors, unclear=error)
    members = (f"{member}.weight" for module in modules for member in module.members)
    alone = tuple([name for name in members if not name.startswith(roots)])
    return Block(roots, tensors, alone)
