"""compressed-tensors: `config_groups` with targets, and the list `ignore`."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import Decide, Method, Rename, Setting
from mtpfix.engines.vllm.methods.compressed_tensors import matcher, refusal
from mtpfix.engines.vllm.methods.compressed_tensors.spelling import SPELLING
from mtpfix.model import Entry, Module, QuantView
from mtpfix.patterns import Entries
from mtpfix.quant import Location
from mtpfix.quant.readers import compressed_tensors as reader


class CompressedTensors(Method):
    """compressed-tensors."""

    def read(self, location: Location) -> QuantView:
        """Return what metadata says."""
        return reader.read(location)

    def refusal(self, view: QuantView, context: Context) -> str | None:
        """Return what vLLM raises while it reads the metadata; None: nothing."""
        return refusal.refusal(view, context.release)

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        return matcher.decider(setting)

    def traits(self, view: QuantView, context: Context) -> Hashable:
        """Return the schemes that the release takes for the groups."""
        return matcher.traits(view, context)

    def listed(self, entries: Iterable[Entry], release: str) -> Entries:
        """Return the ignore entries, as they are compared with names."""
        return Entries(entries)

    def exact(self, entry: Entry) -> bool:
        """Return whether the entry is no pattern."""
        return not entry.text.startswith("re:")

    def probes(self, module: Module) -> tuple[str, ...]:
        """Return the member names of expert 0: they are asked in the place of routed experts."""
        return matcher.probes(module)

    def renamed(self, entries: Iterable[Entry], rename: Rename) -> tuple[Entry, ...]:
        """Return the entries with those renamed that have a dot; patterns are left as they are."""
        return tuple(
            rename(entry) if "." in entry.text and not entry.text.startswith("re:") else entry
            for entry in entries
        )


METHODS = (
    CompressedTensors(
        name=reader.METHOD,
        compares="names are compared whole, without wildcards, unless they begin with `re:`",
        spelling=SPELLING,
    ),
)
