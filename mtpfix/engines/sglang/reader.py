"""What SGLang reads in the files of a checkpoint, before a release is chosen. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.checkpoint import strict_json
from mtpfix.engines.opening import Block, Reading
from mtpfix.engines.policies import construction
from mtpfix.engines.sglang import metadata, policy
from mtpfix.engines.sglang.policy import Policy
from mtpfix.errors import UnknownError
from mtpfix.model import Json, Listing, QuantView

_SHOWN = 3
"""Architectures of an unknown model that are named."""


def read(found: Listing, config: Mapping[str, Json]) -> Reading:
    """Return what SGLang reads in the files of a checkpoint.

    Args:
        found: the metadata files and the names of all tensors.
        config: the parsed `config.json`.

    Raises:
        BrokenFileError: the metadata is malformed.
    """
    family = policy.index().recognise(config)
    known = policy.policy(family) if family is not None else None
    block = _block(found, known, config)
    title = policy.index().unjudged_draft(config, block.tensors)
    if title is not None:
        known, block = None, Block()
    place = metadata.find(found.configs)
    view: QuantView | None = None
    unreadable: UnknownError | None = None
    if place is not None and known is not None:
        try:
            view = metadata.read(place, found.configs)
        except UnknownError as error:
            unreadable = error
    unknown: UnknownError | None = None
    if known is None and (place is not None or policy.index().declares_mtp(config)):
        unknown = unknown_draft(title) if title else unknown_family(config)
    return Reading(
        family=known,
        unknown_family=unknown,
        view=view,
        method=None if place is None else metadata.method_of(place),
        unreadable=unreadable,
        other=None,
        block=block,
    )


def unknown_draft(title: str) -> UnknownError:
    """Return the error that says that no policy knows the draft."""
    return UnknownError(
        f"the draft of this checkpoint is {title}, not MTP, and no policy of SGLang speaks of it",
        "see `mtpfix families --engine sglang` for what is covered",
        code="MTP901",
    )


def unknown_family(config: Mapping[str, Json]) -> UnknownError:
    """Return the error that says that no policy knows the model."""
    named = config.get("architectures")
    listed = named[:_SHOWN] if isinstance(named, list) else []
    shown = ", ".join(strict_json.shown(str(name)) for name in listed) or "none"
    return UnknownError(
        f"no policy of SGLang for this model: architectures {shown}, "
        f"model_type {config.get('model_type')!r:.80}",
        "see `mtpfix families --engine sglang` for what is covered",
        code="MTP901",
    )


def _block(found: Listing, known: Policy | None, config: Mapping[str, Json]) -> Block:
    """Return the tensors of the MTP block, of which the headers are needed."""
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
