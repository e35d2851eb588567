"""What vLLM reads in the files of a checkpoint, before a release is chosen. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any, cast

from mtpfix.checkpoint import strict_json
from mtpfix.engines.opening import Analyzable, OtherDraft, Reading
from mtpfix.engines.policies import construction, mtp_block
from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.open_question import open_question
from mtpfix.engines.vllm import metadata, policy
from mtpfix.engines.vllm.case import Case
from mtpfix.engines.vllm.drafts import by_architecture, by_tensors
from mtpfix.engines.vllm.methods.shared.headers import reads_headers
from mtpfix.engines.vllm.policy import Policy
from mtpfix.errors import UnknownError
from mtpfix.model import Json, Listing, Platform, QuantView
from mtpfix.quant import foreign

_SHOWN = 8
"""Architectures that an error names: no honest file has more."""


def read(found: Listing, config: Mapping[str, Json], *, own_draft: bool = True) -> Reading:
    """Return what vLLM reads in the files of a checkpoint; see `Engine.read`.

    Raises:
        BrokenFileError: metadata is malformed.
    """
    known, block = mtp_block.recognised(policy.index(), policy.policy, found, config)
    place = metadata.find(found.configs)
    method = None if place is None else metadata.method_of(place)
    other = by_architecture(config) if known is None else by_tensors(block.tensors)
    if known is not None and other is not None and other.method == known.record.speculation:
        other = None  # it is the draft that the policy speaks of
    view: QuantView | None = None
    unreadable: UnknownError | None = None
    if place is None:
        unreadable = foreign.beside(found.files)
    elif known is not None and (other is None or not own_draft):
        try:
            view = metadata.read(place, found.configs)
        except UnknownError as error:
            unreadable = error if method else foreign.unnamed(place)
    question = None if known is not None else open_question(policy.index(), found, config)
    unknown_family = None
    if question is not None:
        unknown_family = _unknown_family(config, "" if place is not None else question)
    other = None if other is None else _questioned(other, question)
    scans = view is not None and reads_headers(view)
    return Reading(known, unknown_family, view, method, unreadable, other, block, scans)


def _questioned(other: OtherDraft, question: str | None) -> OtherDraft:
    """Return a draft that is not MTP, with what would have to be known to judge it."""
    if other.inside:
        question = "its target model is not judged beside it"
    elif other.quantized_by == "target":
        question = "its target model says how it is quantized, which is another checkpoint"
    return replace(other, question=question)


def _unknown_family(config: Mapping[str, Json], question: str) -> UnknownError:
    """Return the error that says that no policy knows the model, and what is to be known of it."""
    named = config.get("architectures")
    listed = named[:_SHOWN] if isinstance(named, list) else []
    shown = ", ".join(strict_json.shown(str(name)) for name in listed) or "none"
    reason = "; ".join(filter(None, (policy.reason(config), question)))
    return UnknownError(
        f"no policy for this model: architectures {shown}, "
        f"model_type {config.get('model_type')!r:.80}" + (f": {reason}" if reason else ""),
        "see `mtpfix families` for what is covered",
        code="MTP901",
    )


def case(
    subject: Analyzable,
    release: str,
    platform: Platform,
    shared: dict[Hashable, Any] | None = None,
) -> Case:
    """Return a target, and its draft where that comes from elsewhere, as one release sees it.

    Args:
        subject: the target.
        release: the release.
        platform: the platform.
        shared: modules that the cases of one configuration share.
    """
    files = subject.files
    beside = None if files.draft is None else files.draft.inventory
    return Case(
        cast(Policy, subject.family),
        context(subject, files.config, release, platform),
        files.inventory,
        beside=beside,
        shared_modules={} if shared is None else shared,
        view=subject.view,
    )


def context(
    subject: Analyzable, config: Mapping[str, Json], release: str, platform: Platform
) -> Context:
    """Return what a release makes of a `config.json`, under the metadata of the target."""
    known, block = cast(Policy, subject.family), subject.files.block.listing
    made = construction.context(known, config, release, platform, subject.view.method)
    made = construction.drafting(known, made, block.shards)
    return made.with_fields(**{construction.FILES: sorted(block.configs)})
