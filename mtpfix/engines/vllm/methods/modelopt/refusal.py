"""ModelOpt metadata that vLLM refuses while it reads it, before any module is built. Pure.

Source: `ModelOptQuantConfigBase.from_config` and `_from_config` of each configuration class,
and `_normalize_quantization_config`, which knows few algorithms of the nested form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mtpfix.engines.policies.context import Context, fitting, in_releases
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.methods.modelopt.reader import (
    METHODS,
    algorithm,
    layers,
    made,
)
from mtpfix.engines.vllm.methods.shared.value_errors import INVALID
from mtpfix.model import Json, QuantView
from mtpfix.quant.readers.modelopt import BESIDE, NESTED

_MODEL = "ValidationError: 1 validation error for ModelConfig…Value error, "
_LEGACY = ("FP8", "FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO", "NVFP4")
"""The algorithms of the nested form, where ModelOpt says that it made it."""
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "modelopt_fp4": ("group_size", "kv_cache_quant_algo", "exclude_modules"),
    "modelopt_mxfp8": ("kv_cache_quant_algo", "exclude_modules"),
}
"""Keys that the nested form must have."""


def refusal(view: QuantView, context: Context) -> str | None:
    """The exception that reading the metadata ends in, or None."""
    return next(_errors(view, context), None)


def _errors(view: QuantView, context: Context) -> Iterator[str]:
    """What is wrong, in the order in which it is looked for."""
    nested = view.raw.get(NESTED)
    stated: Mapping[str, Json] = nested if isinstance(nested, Mapping) else view.raw
    algo = algorithm(stated)
    other = view.file == BESIDE and bool(view.twins)  # then config.json names the method
    if other and not made(view.raw):
        yield f"{INVALID}Unsupported quantization config"
    mixed = algo == "MIXED_PRECISION" and in_releases(">=0.33", context.release)
    legacy = nested is not None and not other and made(view.raw)
    if legacy and algo and algo not in _LEGACY and not mixed:
        yield f"{_MODEL}Unknown ModelOpt quant algo: {stated['quant_algo']}"
    if not algo and (view.format is None or not in_releases(">=0.24", context.release)):
        yield f"{INVALID}Missing 'quant_algo' in quantization config"
    if view.null:
        yield f"{INVALID}exclude_modules must be a list, got <class 'NoneType'>"
    if algo and algo not in known(view.method, context):
        found = any(algo in known(method, context) for method in METHODS)
        yield INVALID + ("Unsupported ModelOpt" if found else "ModelOpt currently only supports:")
    if view.method == "modelopt_mixed" and not layers(view.raw):
        yield f"{INVALID}MIXED_PRECISION quant_algo requires a non-empty 'quantized_layers'"
    if nested is not None and not stated.keys() >= set(_NEEDED.get(view.method, ())):
        yield f"{INVALID}{algo} quantization requires the following fields in"


def known(method: str, context: Context) -> tuple[str, ...]:
    """The algorithms that a release reads under a method."""
    rows = fitting(policy.method(method).algorithms, context)
    return tuple(next((row.value for row in rows), ()))
