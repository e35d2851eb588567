"""A draft that is loaded from another checkpoint than its target: what cannot be foreseen. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from mtpfix.checkpoint import strict_json
from mtpfix.engines.opening import Analyzable
from mtpfix.engines.vllm.case import Case
from mtpfix.engines.vllm.methods.shared.refusal import refusal
from mtpfix.engines.vllm.reader import context
from mtpfix.errors import UnknownError
from mtpfix.model import QuantView


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
