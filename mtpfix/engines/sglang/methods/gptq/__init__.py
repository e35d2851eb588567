"""GPTQ: one scheme for every layer, but for the `-:` rules of `dynamic`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.dynamic_rules import Rules
from mtpfix.engines.policies.method import Decide, Setting, UnmappedMethod
from mtpfix.engines.sglang.methods.gptq import matcher
from mtpfix.model import Entry, Module, QuantView
from mtpfix.quant import Location, beside
from mtpfix.quant.readers import gptq as reader
from mtpfix.quant.readers.gptq import SKIP
from mtpfix.quant.spelling import Spelling


class Gptq(UnmappedMethod):
    """GPTQ, whose keys are never exact: each is a pattern."""

    def read(self, location: Location) -> QuantView:
        """Return what metadata says.

        Raises:
            BrokenFileError: the rules are no object.
        """
        return reader.read(location)

    def refusal(self, view: QuantView, context: Context) -> str | None:
        """Return what SGLang raises while it reads the metadata; None: nothing."""
        return matcher.refusal(view, context)

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        return matcher.decider(setting)

    def listed(self, entries: Iterable[Entry], release: str) -> Rules:
        """Return the keys of `dynamic`, as they are compared with names."""
        return Rules(entries, {})

    def probes(self, module: Module) -> tuple[str, ...]:
        """Return no name: routed experts are quantized whatever the rules say."""
        return ()


def _whole(name: str) -> str:
    return f"{SKIP}^{re.escape(name)}$"


METHODS = (
    Gptq(
        name=reader.METHOD,
        compares="keys of `dynamic` are patterns, compared from the start of a name",
        aliases=("gptq_marlin",),
        twin_files=beside.FILES,
        spelling=Spelling(
            name=_whole,
            experts=_whole,
            block=lambda root: f"{SKIP}^{re.escape(root)}.*",
            mark=SKIP,
            syntax="pattern",
        ),
    ),
)
