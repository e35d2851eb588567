"""SGLang's quantization methods: one package each.

A package has what its method needs of `reader.py` (what the metadata says), `entries.py` (how
entries are compared with names), `matcher.py` (what SGLang builds), `refusal.py` (metadata that
it refuses) and `NAME.json` (classes). What several share is in `shared/`; how releases differ
is in `rules.json`. No name mapper sees the entries of an `UnmappedMethod`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mtpfix.engines.policies.method import Decide, Method, Setting, UnmappedMethod, plain
from mtpfix.engines.sglang.methods import (
    auto_round,
    awq,
    compressed_tensors,
    fp8,
    gptq,
    modelopt,
    quark,
)
from mtpfix.engines.sglang.methods.shared.paths import Paths
from mtpfix.model import Entry

_METHODS: Mapping[str, Method] = {
    method.name: method
    for package in (auto_round, awq, compressed_tensors, fp8, gptq, modelopt, quark)
    for method in package.METHODS
}

BY_QUANT_METHOD: Mapping[str, Method] = {
    name: method for method in _METHODS.values() for name in (method.name, *method.aliases)
}
"""The methods by what may stand as `quant_method` in metadata."""


class _Unquantized(UnmappedMethod):
    """No quantization metadata: nothing is quantized, and no name is compared."""

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decision that is the same for every module."""
        return plain

    def listed(self, entries: Iterable[Entry], release: str) -> Paths:
        """Return no entry: none is read."""
        return Paths(())


UNQUANTIZED = _Unquantized(
    name="", compares="no list has an effect: there is no quantization metadata"
)


def names() -> tuple[str, ...]:
    """Return the methods that are judged, sorted."""
    return tuple(sorted(_METHODS))


def of(method: str) -> Method:
    """Return the rules of one method, by its name; empty: no metadata."""
    return _METHODS[method] if method else UNQUANTIZED
