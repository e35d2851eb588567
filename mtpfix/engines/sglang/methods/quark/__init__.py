"""quark: one configuration for all layers, others by name, and the list `exclude`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import Decide, Method, Rename, Setting
from mtpfix.engines.sglang.methods.quark import matcher
from mtpfix.engines.sglang.methods.quark.exclude import Excluded
from mtpfix.engines.sglang.methods.quark.layers import mirrored
from mtpfix.engines.sglang.methods.shared.spelling import MARKED
from mtpfix.model import Entry, QuantView
from mtpfix.quant import Location
from mtpfix.quant.readers import quark as reader

_WRAPPER = "language_model."
_LAYERS = "/layer_quant_config/"


class Quark(Method):
    """quark."""

    def read(self, location: Location) -> QuantView:
        """Return what metadata says."""
        return reader.read(location)

    def refusal(self, view: QuantView, context: Context) -> str | None:
        """Return what SGLang raises while it reads the metadata; None: nothing."""
        return matcher.refusal(view, context)

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        return matcher.decider(setting)

    def listed(self, entries: Iterable[Entry], release: str) -> Excluded:
        """Return the entries, as they are compared with names."""
        return Excluded(entries, release)

    def exact(self, entry: Entry) -> bool:
        """Return whether it is no pattern, nor about an expert: that stands for all of them."""
        return not entry.text.startswith("re:") and "experts" not in entry.text

    def renamed(self, entries: Iterable[Entry], rename: Rename) -> tuple[Entry, ...]:
        """Return the entries renamed; those of the list also without `language_model.`."""
        return tuple(each for entry in entries for each in _both(entry, rename(entry)))


def _both(entry: Entry, renamed: Entry) -> tuple[Entry, ...]:
    if _LAYERS in entry.pointer:
        mirror = mirrored(renamed)
        return (renamed,) if mirror is None else (renamed, mirror)
    if not renamed.text.startswith(_WRAPPER):
        return (renamed,)
    short = renamed.text.removeprefix(_WRAPPER)
    return (renamed, replace(renamed, text=short, written=entry.spelling))


METHODS = (
    Quark(
        name=reader.METHOD,
        compares="names are compared whole, without wildcards, unless they begin with `re:`",
        spelling=MARKED,
    ),
)
