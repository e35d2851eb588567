"""auto-round (INC): the bits of a module by its name, its block, or the default."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import Decide, Method, Setting
from mtpfix.engines.vllm.methods.auto_round import matcher
from mtpfix.engines.vllm.methods.auto_round.keys import Keys
from mtpfix.engines.vllm.methods.auto_round.spelling import SPELLING
from mtpfix.model import Entry, QuantView
from mtpfix.quant import Location
from mtpfix.quant.readers import auto_round as reader


class AutoRound(Method):
    """auto-round, whose keys are never exact: each may be the end of a name, or an expert's."""

    def read(self, location: Location) -> QuantView:
        """Return what metadata says."""
        return reader.read(location)

    def refusal(self, view: QuantView, context: Context) -> str | None:
        """Return what vLLM raises while it reads the metadata; None: nothing."""
        return matcher.refusal(view, context)

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        return matcher.decider(setting)

    def traits(self, view: QuantView, context: Context) -> Hashable:
        """Return the classes that a platform has for the bits that are asked for."""
        return matcher.traits(view, context)

    def listed(self, entries: Iterable[Entry], release: str) -> Keys:
        """Return the keys, as they are compared with names."""
        return Keys(entries, release)


METHODS = (
    AutoRound(
        name=reader.METHOD,
        compares="a key is a whole name, or a regex if it contains one of `*+?^$()[]{}|\\`",
        aliases=("inc",),
        twin_files=("quantization_config.json",),
        spelling=SPELLING,
    ),
)
