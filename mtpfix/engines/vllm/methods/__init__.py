"""vLLM's quantization methods: one module each, with the names that `Method` lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mtpfix.engines.vllm.methods import (
    auto_round,
    awq,
    bitsandbytes,
    compressed_tensors,
    deepseek_v4,
    experts_only,
    fp8,
    gptq,
    humming,
    modelopt,
    modelopt_mixed,
    never,
    quark,
    torchao,
    unquantized,
)
from mtpfix.engines.vllm.methods.base import Method
from mtpfix.model import Entry
from mtpfix.patterns import Listed, PatternError

_METHODS: Mapping[str, Method] = {
    "auto-round": auto_round,
    "awq": awq,
    "bitsandbytes": bitsandbytes,
    "compressed-tensors": compressed_tensors,
    "deepseek_v4_fp8": deepseek_v4,
    "experts_int8": experts_only,
    "fbgemm_fp8": fp8,
    "fp8": fp8,
    "fp_quant": never,
    "gptq": gptq,
    "humming": humming,
    "gpt_oss_mxfp4": experts_only,
    "moe_wna16": experts_only,
    "mxfp4": experts_only,
    "mxfp8": modelopt,
    "modelopt": modelopt,
    "modelopt_fp4": modelopt,
    "modelopt_mxfp8": modelopt,
    "modelopt_mixed": modelopt_mixed,
    "online": never,
    "quark": quark,
    "torchao": torchao,
}

_UNQUANTIZED: Method = unquantized


def names() -> tuple[str, ...]:
    """The methods that are judged, sorted."""
    return tuple(sorted(_METHODS))


def of(method: str) -> Method:
    """The rules of one method, by the name that the metadata has for it; empty: no metadata."""
    return _METHODS[method] if method else _UNQUANTIZED


def valid(method: str, entries: Iterable[Entry], release: str) -> Listed:
    """Entries as a method compares them, without those that are no valid patterns."""
    listed = of(method).listed
    good = []
    for entry in entries:
        try:
            listed([entry], release)
        except PatternError:
            continue
        good.append(entry)
    return listed(good, release)
