"""auto-round: the bits of a module by its name, its block, or the default."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import Decide, Setting, UnmappedMethod
from mtpfix.engines.sglang.methods.auto_round import matcher
from mtpfix.engines.sglang.methods.auto_round.layers import Keys
from mtpfix.model import Entry, QuantView
from mtpfix.quant import Location
from mtpfix.quant.readers import auto_round as reader
from mtpfix.quant.spelling import patterns


class AutoRound(UnmappedMethod):
    """auto-round, whose keys are never exact: each may be that of an expert."""

    def read(self, location: Location) -> QuantView:
        """Return what metadata says."""
        return reader.read(location)

    def refusal(self, view: QuantView, context: Context) -> str | None:
        """Return what SGLang raises while it reads the metadata; None: nothing."""
        return matcher.refusal(view)

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        return matcher.decider(setting)

    def listed(self, entries: Iterable[Entry], release: str) -> Keys:
        """Return the keys, as they are compared with names."""
        return Keys(entries)


METHODS = (
    AutoRound(
        name=reader.METHOD,
        compares="a key is a whole name, or a regex if it contains one of `*+?^$()[]{}|\\`",
        twin_files=("quantization_config.json",),
        spelling=patterns(lambda name: rf"^{re.escape(name)}(\..*)?$"),
    ),
)
