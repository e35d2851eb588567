"""A draft with metadata, or tensors, that are not its target's: what cannot be foreseen. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from mtpfix.checkpoint import strict_json
from mtpfix.checkpoint.document import value_at
from mtpfix.engines.opening import Analyzable
from mtpfix.engines.vllm.case import Case
from mtpfix.engines.vllm.methods.shared.refusal import refusal
from mtpfix.engines.vllm.reader import context
from mtpfix.errors import UnknownError
from mtpfix.model import QuantView

OWN_COPY = "/text_config/quantization_config"
"""Where a draft that reads its metadata anew looks first, in a model with a vision tower."""


def refuse_copy(subject: Analyzable, cases: Sequence[Case]) -> None:
    """Refuse a draft that goes by a copy of the metadata that says otherwise.

    Raises:
        UnknownError: the text configuration has metadata that differ from those at the top.
    """
    view = subject.view
    own = dict.fromkeys(case.release for case in cases if case.reads_its_own)
    copy = value_at(subject.files.config, OWN_COPY)
    if own and copy is not None and view.pointer != OWN_COPY and copy != view.raw:
        raise UnknownError(
            f"config.json: {OWN_COPY} differs from {view.pointer}, and the draft of vLLM "
            f"{', '.join(own)} goes by it",
            "make both say the same",
        )


def refuse_pair(subject: Analyzable, cases: Sequence[Case]) -> None:
    """Refuse a draft from elsewhere that the target's files and metadata do not tell all about.

    Raises:
        UnknownError: it goes by metadata of its own, its `config.json` leads to another draft than
            the target's, or vLLM refuses one of the two methods.
    """
    draft = subject.files.draft
    if draft is None:
        return
    one = strict_json.shown(draft.target.name)
    own = dict.fromkeys(case.release for case in cases if case.reads_its_own)
    if own:
        raise UnknownError(
            f"vLLM {', '.join(own)} builds this draft with the metadata of its own checkpoint",
            f"judge {one} by itself for these releases, and choose others with --vllm",
        )
    for case in cases:
        ours = case.context
        theirs = context(subject, draft.config, ours.release, ours.platform)
        other = replace(case, context=theirs, shared_modules={})
        if _traits(case, subject.view) != _traits(other, subject.view):
            raise UnknownError(
                f"the config.json of {one} describes a different draft from the target's",
                "make both agree, above all on the number of MTP layers",
            )
        for method in (subject.view.method, draft.method):
            refused = refusal(method, ours) if method else None
            if refused is not None:
                raise UnknownError(refused.reason, refused.remedy or "use another method")


def _traits(case: Case, view: QuantView) -> Hashable:
    """Return what the verdict on the draft rests on; without metadata its modules alone."""
    return case.draft_traits(view) if view.method else case.draft
