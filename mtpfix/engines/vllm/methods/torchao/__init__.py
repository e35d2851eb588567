"""torchao: one configuration for every Linear, or one by name, but for a list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import Decide, Setting, UnmappedMethod
from mtpfix.engines.vllm.methods.shared.components import Anywhere
from mtpfix.engines.vllm.methods.torchao import matcher, reader, refusal
from mtpfix.model import Entry, QuantView
from mtpfix.quant import Location
from mtpfix.quant.spelling import COMPONENTS


class TorchAO(UnmappedMethod):
    """torchao, whose entries are never exact: each may be a part of another name."""

    def read(self, location: Location) -> QuantView:
        """Return what metadata says."""
        groups = reader.groups(location)
        return replace(super().read(location), groups=groups)

    def refusal(self, view: QuantView, context: Context) -> str | None:
        """Return what vLLM raises while it reads the metadata; None: nothing."""
        return refusal.refusal(view)

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        return matcher.decider(setting)

    def listed(self, entries: Iterable[Entry], release: str) -> Anywhere:
        """Return the entries, as they are compared with names."""
        return Anywhere(entries)


METHODS = (
    TorchAO(
        name="torchao",
        compares="an entry matches one or several whole components of a name, in their order",
        spelling=COMPONENTS,
    ),
)
