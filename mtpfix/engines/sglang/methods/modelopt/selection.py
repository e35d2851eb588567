"""Which method SGLang takes for ModelOpt's metadata, release by release. Pure.

Source: `ModelConfig._parse_modelopt_quant_config` and `_verify_quantization`.
"""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.engines.policies.context import Context
from mtpfix.engines.sglang.methods.shared.rules import rules
from mtpfix.model import Json
from mtpfix.quant.readers.modelopt import LAYERS, NESTED

FP8, FP4, MIXED = "modelopt_fp8", "modelopt_fp4", "modelopt_mixed"
W4AFP8, MXFP8 = "w4afp8", "mxfp8"
ANY = "modelopt"
_NVFP4 = ("NVFP4", "W4A16_NVFP4")


def newest(value: Mapping[str, Json]) -> str:
    """Return the method that the newest release takes for metadata."""
    return _method(value, by_layers=True, mxfp8=True, mixed=False)


def in_force(value: Mapping[str, Json], context: Context) -> str:
    """Return the method that a release takes for metadata."""
    return _method(
        value,
        by_layers=rules("mixed_by_layers", context.release),
        mxfp8=rules("mxfp8_is_fp8", context.release),
        mixed=context.fields.get("model_type") in rules("mixed_models", context.release),
    )


def _method(value: Mapping[str, Json], *, by_layers: bool, mxfp8: bool, mixed: bool) -> str:
    named = value.get("quant_method", ANY)
    if named != ANY and NESTED not in value:
        return str(named).lower()
    stated = _stated(value)
    algo = stated.get("quant_algo")
    text = algo if isinstance(algo, str) else ""
    if text == "MIXED_PRECISION":
        return MIXED if (_has_nvfp4(stated) if by_layers else mixed) else W4AFP8
    if "FP4" in text:
        return FP4
    if text == "MXFP8" and mxfp8:
        return MXFP8
    return FP8


def _stated(value: Mapping[str, Json]) -> Mapping[str, Json]:
    nested = value.get(NESTED)
    flat = value.get("quant_algo") is not None
    return nested if isinstance(nested, Mapping) and not flat else value


def algorithm(value: Mapping[str, Json]) -> Json:
    """Return the `quant_algo` of metadata, in either form."""
    return _stated(value).get("quant_algo")


def layers(value: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return `quantized_layers` of metadata, in either form; empty where there are none."""
    found = _stated(value).get(LAYERS)
    return found if isinstance(found, Mapping) else {}


def _has_nvfp4(stated: Mapping[str, Json]) -> bool:
    found = stated.get(LAYERS)
    rows = found.values() if isinstance(found, Mapping) else ()
    return any(
        str(row.get("quant_algo", "")).upper() in _NVFP4 for row in rows if isinstance(row, Mapping)
    )
