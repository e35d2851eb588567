"""compressed-tensors: `config_groups` with targets, and the list `ignore`."""

from __future__ import annotations

from collections.abc import Iterable

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import Decide, Method, Setting
from mtpfix.engines.sglang.methods.compressed_tensors import matcher
from mtpfix.engines.sglang.methods.compressed_tensors.entries import Ignored
from mtpfix.engines.sglang.methods.shared.spelling import MARKED
from mtpfix.model import Entry, Module, QuantView
from mtpfix.quant import Location
from mtpfix.quant.readers import compressed_tensors as reader


class CompressedTensors(Method):
    """compressed-tensors, whose entries are never exact: a plain one fits ends of names, too."""

    def read(self, location: Location) -> QuantView:
        """Return what metadata says."""
        return reader.read(location)

    def refusal(self, view: QuantView, context: Context) -> str | None:
        """Return what SGLang raises while it reads the metadata; None: nothing."""
        return matcher.refusal(view, context)

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        return matcher.Decider(setting)

    def listed(self, entries: Iterable[Entry], release: str) -> Ignored:
        """Return the ignore entries, as they are compared with names."""
        return Ignored(entries, release)

    def probes(self, module: Module) -> tuple[str, ...]:
        """Return the names of layers of expert 0, which are asked in the place of experts."""
        return matcher.probes(module)


METHODS = (
    CompressedTensors(
        name=reader.METHOD,
        compares="names are compared whole or by their ends, without wildcards, "
        "unless they begin with `re:`",
        aliases=("compressed_tensors",),
        spelling=MARKED,
    ),
)
