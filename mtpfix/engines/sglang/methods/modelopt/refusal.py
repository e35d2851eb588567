"""ModelOpt metadata that SGLang refuses while it reads it, before any module is built. Pure.

Source: `from_config` of each configuration class, and `get_quant_config`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mtpfix.engines.policies.context import Context
from mtpfix.engines.sglang.methods.fp8 import refusal as fp8
from mtpfix.engines.sglang.methods.modelopt.reader import incomplete
from mtpfix.engines.sglang.methods.modelopt.selection import (
    FP4,
    FP8,
    MIXED,
    MXFP8,
    algorithm,
    in_force,
    layers,
)
from mtpfix.engines.sglang.methods.shared.rules import rules
from mtpfix.model import Json, QuantView
from mtpfix.quant.readers.modelopt import BESIDE, NESTED

_NO_LAYERS = "ValueError: MIXED_PRECISION quantization requires a non-empty quantized_layers map."
_NOT_MIXED = "ValueError: ModelOptMixedPrecisionConfig only supports MIXED_PRECISION checkpoints."
_NO_FILE = "ValueError: Cannot find the config file for modelopt_mixed"
_NO_SIZE = (
    "ValueError: NVFP4 quantization requires group_size and exclude_modules "
    "specified in the quantization config"
)


def refusal(view: QuantView, context: Context) -> str | None:
    """Return the exception that reading the metadata ends in, or None."""
    method = in_force(view.raw, context)
    if method == MXFP8:
        return fp8.refusal(view, context)
    if method == MIXED:
        return next(_of_mixed(view, context), None)
    if method in (FP4, FP8) and view.file != BESIDE:
        return next(_of_one(view, context, method), None)
    return None


def _of_mixed(view: QuantView, context: Context) -> Iterator[str]:
    beside = rules("mixed_from_beside", context.release)
    if beside and view.file != BESIDE and incomplete(view.raw):
        yield _NO_FILE
    if algorithm(view.raw) != "MIXED_PRECISION":
        yield _NOT_MIXED
    if not layers(view.raw):
        yield _NO_LAYERS


def _of_one(view: QuantView, context: Context, method: str) -> Iterator[str]:
    algo = algorithm(view.raw)
    if algo is None and NESTED not in view.raw:
        yield "ValueError: Cannot find 'quant_algo' in the model's quantization config. "
    if method == FP8:
        known = rules("modelopt_fp8_algorithms", context.release)
        if algo not in known:
            sort = "regular" if len(known) == 1 else "static"
            yield f"ValueError: ModelOptFp8Config only supports {sort} FP8 quantization"
        return
    known = rules("modelopt_fp4_algorithms", context.release)
    if algo not in known:
        yield f"ValueError: ModelOpt currently only supports: {', '.join(known)} quantizations"
    sized = _group_size(view.raw) is not None or (len(known) > 2 and "NVFP4" in str(algo))  # noqa: PLR2004
    if not sized or view.null:
        yield _NO_SIZE


def _group_size(raw: Mapping[str, Json]) -> Json:
    """Return the group size that flat metadata states, at the top or in its first group."""
    if raw.get("group_size") is not None:
        return raw["group_size"]
    groups = raw.get("config_groups")
    first: Json = next(iter(groups.values()), {}) if isinstance(groups, Mapping) else {}
    weights = first.get("weights") if isinstance(first, Mapping) else None
    return weights.get("group_size") if isinstance(weights, Mapping) else None
