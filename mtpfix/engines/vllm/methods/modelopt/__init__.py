"""ModelOpt: one scheme, or one a layer, but for what `ignore` or `exclude_modules` exempts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import Decide, Method, Rename, Setting
from mtpfix.engines.vllm.methods.modelopt import matcher, mixed, reader, refusal
from mtpfix.engines.vllm.methods.modelopt.spelling import SPELLING
from mtpfix.engines.vllm.methods.modelopt.wildcards import Excluded
from mtpfix.errors import BrokenFileError
from mtpfix.model import Entry, Json, JsonFile, QuantView
from mtpfix.quant import Location
from mtpfix.quant.readers.modelopt import NESTED


class _Excluding(Method):
    """What all of them have, whose entries are never exact: each may be a part of a name."""

    def refusal(self, view: QuantView, context: Context) -> str | None:
        """Return what vLLM raises while it reads the metadata; None: nothing."""
        return refusal.refusal(view, context)

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        return matcher.decider(setting)

    def listed(self, entries: Iterable[Entry], release: str) -> Excluded:
        """Return the entries, as they are compared with names."""
        return Excluded(entries)

    def renamed(self, entries: Iterable[Entry], rename: Rename) -> tuple[Entry, ...]:
        """Return the entries, and the parts of each that ends in a bare `*`, renamed."""
        return tuple(rename(part) for entry in entries for part in matcher.parts(entry))


class Mxfp8(_Excluding):
    """mxfp8: ModelOpt's MXFP8 as MiniMax writes it, with the list `ignored_layers`.

    Read as `ModelOptMxFp8Config.from_config` reads it from 0.24 on.
    """

    def read(self, location: Location) -> QuantView:
        """Return what metadata says; with an algorithm it is ModelOpt's own."""
        if NESTED in location.value or location.value.get("quant_algo"):
            return reader.read(location)
        if self.key in location.value and location.value[self.key] is None:
            where = location.at(self.key)
            raise BrokenFileError(f"{location.file}: {where} is null", "write [], or no list")
        return super().read(location)


class ModelOpt(_Excluding):
    """ModelOpt with one algorithm, stated in `config.json` or in `hf_quant_config.json`."""

    def read(self, location: Location) -> QuantView:
        """Return what metadata says."""
        return reader.read(location)

    def with_twins(self, view: QuantView, configs: Mapping[str, JsonFile]) -> QuantView:
        """Return the metadata with what the other file says of the same."""
        return reader.with_twin(view, configs)

    def overriding(self, view: QuantView) -> Mapping[str, Json] | None:
        """Return the flat form that keeps vLLM from the other file; None: it cannot be made."""
        return reader.overriding(view)


class Mixed(ModelOpt):
    """ModelOpt with an algorithm for each layer."""

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        return mixed.decider(setting)


_COMPARES = "entries are compared with whole names, with parts of names, and as shell wildcards"

METHODS = (
    ModelOpt(name="modelopt", compares=_COMPARES, spelling=SPELLING),
    ModelOpt(name="modelopt_fp4", compares=_COMPARES, dialect="modelopt", spelling=SPELLING),
    ModelOpt(name="modelopt_mxfp8", compares=_COMPARES, dialect="modelopt", spelling=SPELLING),
    Mixed(name="modelopt_mixed", compares=_COMPARES, dialect="modelopt", spelling=SPELLING),
    Mxfp8(
        name="mxfp8",
        compares=_COMPARES,
        key="ignored_layers",
        format="mxfp8",
        spelling=SPELLING,
    ),
)
