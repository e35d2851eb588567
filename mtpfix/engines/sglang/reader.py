"""What SGLang reads in the files of a checkpoint, before a release is chosen. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.checkpoint import strict_json
from mtpfix.engines.opening import Block, Reading
from mtpfix.engines.policies import mtp_block
from mtpfix.engines.policies.open_question import open_question
from mtpfix.engines.sglang import first_tensor, metadata, policy
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
    known, block = mtp_block.recognised(policy.index(), policy.policy, found, config)
    title = policy.index().unjudged_draft(config, block.tensors)
    if title is not None:
        known, block = None, Block()
    if known is not None:
        block = _with_probe(block, known, found)
    place = metadata.find(found.configs)
    view: QuantView | None = None
    unreadable: UnknownError | None = None
    if place is not None and known is not None:
        try:
            view = metadata.read(place, found.configs)
        except UnknownError as error:
            unreadable = error
    question = None if known is not None else open_question(policy.index(), found, config)
    unknown: UnknownError | None = None
    if title is not None:  # its target model is not judged either
        unknown = unknown_draft(title)
    elif question is not None:
        unknown = unknown_family(config, "" if place is not None else question)
    return Reading(
        family=known,
        unknown_family=unknown,
        view=view,
        method=None if place is None else metadata.method_of(place),
        unreadable=unreadable,
        other=None,
        block=block,
    )


def _with_probe(block: Block, known: Policy, found: Listing) -> Block:
    """Return a block with the tensor that is looked at before experts are built, if one is."""
    probe = known.record.probe
    name = None if probe is None else first_tensor.tensor(found, probe)
    return block if name is None else block._replace(beside=(name,))


def unknown_draft(title: str) -> UnknownError:
    """Return the error that says that no policy knows the draft."""
    return UnknownError(
        f"the draft of this checkpoint is {title}, not MTP, and no policy of SGLang speaks of it",
        "see `mtpfix families --engine sglang` for what is covered",
        code="MTP901",
    )


def unknown_family(config: Mapping[str, Json], question: str = "") -> UnknownError:
    """Return the error that says that no policy knows the model, and what is to be known of it."""
    named = config.get("architectures")
    listed = named[:_SHOWN] if isinstance(named, list) else []
    shown = ", ".join(strict_json.shown(str(name)) for name in listed) or "none"
    return UnknownError(
        f"no policy of SGLang for this model: architectures {shown}, "
        f"model_type {config.get('model_type')!r:.80}" + (f": {question}" if question else ""),
        "see `mtpfix families --engine sglang` for what is covered",
        code="MTP901",
    )
