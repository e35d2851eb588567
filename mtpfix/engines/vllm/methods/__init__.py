"""vLLM's quantization methods: one package each, and one for those that are simple.

A package has what its method needs of `reader.py` (what the metadata says), `matcher.py` (what
vLLM builds), `refusal.py` (metadata that vLLM refuses), `spelling.py` (how entries are
written) and `NAME.json` (facts, see `policy.method`). What several share is in `shared/`.
"""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.engines.policies.method import Method
from mtpfix.engines.vllm.methods import (
    auto_round,
    awq,
    bitsandbytes,
    compressed_tensors,
    fp8,
    gptq,
    humming,
    modelopt,
    quark,
    simple,
    torchao,
)

_METHODS: Mapping[str, Method] = {
    method.name: method
    for package in (
        auto_round,
        awq,
        bitsandbytes,
        compressed_tensors,
        fp8,
        gptq,
        humming,
        modelopt,
        quark,
        simple,
        torchao,
    )
    for method in package.METHODS
}

BY_QUANT_METHOD: Mapping[str, Method] = {
    name: method for method in _METHODS.values() for name in (method.name, *method.aliases)
}
"""The methods by what may stand as `quant_method` in metadata."""


def names() -> tuple[str, ...]:
    """The methods that are judged, sorted."""
    return tuple(sorted(_METHODS))


def of(method: str) -> Method:
    """The rules of one method, by its name; empty: no metadata."""
    return _METHODS[method] if method else simple.UNQUANTIZED
