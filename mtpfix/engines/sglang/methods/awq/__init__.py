"""AWQ: one scheme for every layer, but for parts of names in a list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import Decide, Setting, UnmappedMethod
from mtpfix.engines.sglang.methods.awq import matcher
from mtpfix.engines.sglang.methods.awq.matcher import Parts
from mtpfix.model import Entry, QuantView
from mtpfix.quant import beside
from mtpfix.quant.spelling import PARTS


class Awq(UnmappedMethod):
    """AWQ, whose entries are never exact: any name may hold them."""

    def refusal(self, view: QuantView, context: Context) -> str | None:
        """Return what SGLang raises while it reads the metadata; None: nothing."""
        return matcher.refusal(view, context)

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        return matcher.decider(setting)

    def listed(self, entries: Iterable[Entry], release: str) -> Parts:
        """Return the entries, as they are compared with names."""
        return Parts(entries)


METHODS = (
    Awq(
        name="awq",
        compares="an entry matches every name that contains it",
        aliases=("awq_marlin",),
        format="awq",
        twin_files=beside.FILES,
        spelling=replace(PARTS, anywhere=True),
    ),
)
