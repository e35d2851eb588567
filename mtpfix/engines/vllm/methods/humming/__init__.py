"""humming: every Linear and expert that no part of a name and no `-:` rule exempts."""

from __future__ import annotations

from collections.abc import Iterable

from mtpfix.engines.policies.method import Decide, Method, Setting
from mtpfix.engines.vllm.methods.humming import matcher, reader
from mtpfix.model import Entry, QuantView
from mtpfix.quant import Location
from mtpfix.quant.spelling import PARTS


class Humming(Method):
    """humming, whose entries are never exact: each may be a part of another name."""

    def read(self, location: Location) -> QuantView:
        """Return what metadata says."""
        return reader.read(location)

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        return matcher.decider(setting)

    def listed(self, entries: Iterable[Entry], release: str) -> matcher.Parts:
        """Return the entries, as they are compared with names."""
        return matcher.Parts(entries, release)


METHODS = (
    Humming(name=reader.METHOD, compares="an entry matches any part of a name", spelling=PARTS),
)
