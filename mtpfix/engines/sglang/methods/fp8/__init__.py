"""fp8: one scheme for every layer, but for a list of dotted paths."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import Decide, Method, Rename, Setting
from mtpfix.engines.sglang.methods.fp8 import matcher, reader, refusal
from mtpfix.engines.sglang.methods.fp8.entries import spelled
from mtpfix.engines.sglang.methods.shared.paths import Paths
from mtpfix.engines.sglang.methods.shared.spelling import PATHS
from mtpfix.model import Entry, QuantView
from mtpfix.quant import Location


class Fp8(Method):
    """fp8, and mxfp8 where the metadata is no ModelOpt's."""

    def read(self, location: Location) -> QuantView:
        """Return what metadata says."""
        return reader.read(location)

    def refusal(self, view: QuantView, context: Context) -> str | None:
        """Return what SGLang raises while it reads the metadata; None: nothing."""
        return refusal.refusal(view, context)

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        return matcher.decider(setting)

    def listed(self, entries: Iterable[Entry], release: str) -> Paths:
        """Return the entries, as they are compared with names."""
        return Paths(spelled(entries))

    def renamed(self, entries: Iterable[Entry], rename: Rename) -> tuple[Entry, ...]:
        """Return both spellings of each entry, renamed."""
        return tuple(
            replace(entry, text=rename(entry).text, written=entry.spelling)
            for entry in spelled(entries)
        )


COMPARES = "an entry matches every name that contains it as whole parts between dots"

METHODS = (Fp8(name=reader.FP8, compares=COMPARES, spelling=PATHS),)
