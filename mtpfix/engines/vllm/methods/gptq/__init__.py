"""GPTQ: the linear layers that a list names, unless a rule of `dynamic` skips them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.dynamic_rules import Rules
from mtpfix.engines.policies.method import Decide, Method, Rename, Setting
from mtpfix.engines.vllm.methods.gptq import matcher, reader, refusal
from mtpfix.engines.vllm.methods.gptq.spelling import SPELLING
from mtpfix.engines.vllm.methods.shared.moe_wna16 import falls_back
from mtpfix.model import Entry, QuantView
from mtpfix.quant import Location, beside
from mtpfix.quant.readers.gptq import METHOD


class Gptq(Method):
    """GPTQ, whose keys are never exact: each is a pattern."""

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
        """Return whether experts fall back, as on ROCm they always do."""
        return falls_back(view, context)

    def listed(self, entries: Iterable[Entry], release: str) -> Rules:
        """Return the keys of `dynamic`, as they are compared with names."""
        return Rules(entries, {})

    def renamed(self, entries: Iterable[Entry], rename: Rename) -> tuple[Entry, ...]:
        """Return the entries with the list of what is quantized renamed; rules are not seen."""
        return tuple(
            rename(entry) if entry.derived or f"/{reader.BLOCKS}/" in entry.pointer else entry
            for entry in entries
        )


METHODS = (
    Gptq(
        name=METHOD,
        compares="keys of `dynamic` are patterns, compared from the start of a name",
        aliases=("gptq_marlin", "auto_gptq"),
        twin_files=beside.FILES,
        spelling=SPELLING,
    ),
)
