"""quark: one configuration for all layers, others by name, and the list `exclude`."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import Decide, Method, Setting
from mtpfix.engines.vllm.methods.quark import matcher, refusal
from mtpfix.engines.vllm.methods.quark.exclude import Excluded
from mtpfix.engines.vllm.methods.quark.spelling import SPELLING
from mtpfix.model import Entry, QuantView
from mtpfix.quant import Location
from mtpfix.quant.readers import quark as reader


class Quark(Method):
    """quark."""

    def read(self, location: Location) -> QuantView:
        """Return what metadata says."""
        return reader.read(location)

    def refusal(self, view: QuantView, context: Context) -> str | None:
        """Return what vLLM raises while it reads the metadata; None: nothing."""
        return refusal.refusal(view, context)

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        return matcher.decider(setting)

    def traits(self, view: QuantView, context: Context) -> Hashable:
        """Return the classes that a platform has for the configurations."""
        return matcher.traits(view, context)

    def listed(self, entries: Iterable[Entry], release: str) -> Excluded:
        """Return the entries, as they are compared with names."""
        found = Excluded(entries, release)
        found.demand_valid()
        return found

    def exact(self, entry: Entry) -> bool:
        """Return whether it is no pattern, nor about an expert: that stands for all of them."""
        return not entry.text.startswith("re:") and "experts" not in entry.text


METHODS = (
    Quark(
        name=reader.METHOD,
        compares="names are compared whole, without wildcards, unless they begin with `re:`",
        spelling=SPELLING,
    ),
)
