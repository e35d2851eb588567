"""ModelOpt: one algorithm, or one a layer, but for a list of names and wildcards.

What it becomes depends on the algorithm and on the release: see `selection`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import Decide, Method, Rename, Setting
from mtpfix.engines.sglang.methods.fp8 import COMPARES, Fp8
from mtpfix.engines.sglang.methods.modelopt import matcher, reader, refusal
from mtpfix.engines.sglang.methods.modelopt.selection import (
    ANY,
    FP4,
    FP8,
    MIXED,
    MXFP8,
    W4AFP8,
    algorithm,
)
from mtpfix.engines.sglang.methods.shared.spelling import PATHS
from mtpfix.engines.sglang.methods.shared.wildcards import ENDS, Excluded
from mtpfix.model import Entry, Json, QuantView
from mtpfix.quant import Location
from mtpfix.quant.readers.modelopt import LAYERS
from mtpfix.quant.spelling import NAMES

_WRAPPER = "language_model."


class ModelOpt(Method):
    """ModelOpt, stated in `config.json` or in `hf_quant_config.json`."""

    def read(self, location: Location) -> QuantView:
        """Return what metadata says."""
        return reader.read(location)

    def refusal(self, view: QuantView, context: Context) -> str | None:
        """Return what SGLang raises while it reads the metadata; None: nothing."""
        return refusal.refusal(view, context)

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        return matcher.decider(setting)

    def listed(self, entries: Iterable[Entry], release: str) -> Excluded:
        """Return the entries, as they are compared with names."""
        return Excluded(entries)

    def renamed(self, entries: Iterable[Entry], rename: Rename) -> tuple[Entry, ...]:
        """Return the entries renamed; those of a list also without `language_model.`."""
        return tuple(each for entry in entries for each in _both(entry, rename(entry)))


def _both(entry: Entry, renamed: Entry) -> tuple[Entry, ...]:
    of_layer = f"/{LAYERS}/" in entry.pointer
    if of_layer or not renamed.text.startswith(_WRAPPER):
        return (renamed,)
    short = renamed.text.removeprefix(_WRAPPER)
    return (renamed, replace(renamed, text=short, written=entry.spelling))


class Mxfp8(Fp8):
    """mxfp8: SGLang's own metadata, or from 0.5.18 on what ModelOpt says of MXFP8."""

    def read(self, location: Location) -> QuantView:
        """Return what metadata says; with an algorithm it is ModelOpt's."""
        return reader.read(location) if _by_modelopt(location.value) else super().read(location)

    def refusal(self, view: QuantView, context: Context) -> str | None:
        """Return what SGLang raises while it reads the metadata; None: nothing."""
        by_modelopt = _by_modelopt(view.raw)
        return refusal.refusal(view, context) if by_modelopt else super().refusal(view, context)

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        by_modelopt = _by_modelopt(setting.view.raw)
        return matcher.decider(setting) if by_modelopt else super().make_decider(setting)


def _by_modelopt(value: Mapping[str, Json]) -> bool:
    return algorithm(value) is not None


_COMPARES = "an entry is a wildcard for a whole name or for any part of it between dots"


def _one(name: str) -> str:
    """Return a wildcard where the name alone would fit modules of all layers by its end."""
    return f"{name}*" if name.rpartition(".")[2] in ENDS else name


_SPELLING = replace(
    NAMES,
    name=_one,
    unmapped=_one,
    block=lambda root: f"{root}*",
    unmapped_block=lambda root: f"{root}*",
    syntax="wildcard",
)

METHODS = (
    ModelOpt(name=FP8, compares=_COMPARES, aliases=(ANY,), spelling=_SPELLING),
    ModelOpt(name=FP4, compares=_COMPARES, dialect=FP8, spelling=_SPELLING),
    ModelOpt(name=MIXED, compares=_COMPARES, dialect=FP8, spelling=_SPELLING),
    Mxfp8(name=MXFP8, compares=COMPARES, dialect="fp8", spelling=PATHS),
    ModelOpt(
        name=W4AFP8,
        compares="no list has an effect: every linear layer and all experts are quantized",
        dialect=FP8,
        spelling=_SPELLING,
    ),
)
