"""Dialects of quantization metadata: one module each.

`read(place)` of a dialect turns its metadata into a `QuantView`, which says where the
entries stand that exempt modules; `edit(view, change)` turns a change of them into edits
of the JSON. Finding the metadata is common to all of them and stands here, in the order
in which vLLM looks for it (`ModelConfig` and `get_quant_config` of
`model_executor/model_loader/weight_utils.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType, ModuleType

from mtpfix.errors import BrokenFileError, UnknownError
from mtpfix.model import Json, JsonFile, QuantView
from mtpfix.quant import (
    auto_round,
    awq,
    bitsandbytes,
    compressed_tensors,
    experts_int8,
    fbgemm_fp8,
    fp8,
    fp_quant,
    gptq,
    humming,
    modelopt,
    moe_wna16,
    mxfp4,
    mxfp8,
    online,
    quark,
    torchao,
)
from mtpfix.quant.beside import twins
from mtpfix.quant.edits import Change, changed, edit, listed
from mtpfix.quant.place import Place

__all__ = [
    "PLACES",
    "UNQUANTIZED",
    "Change",
    "Place",
    "akin",
    "changed",
    "edit",
    "find",
    "known",
    "listed",
    "method_of",
    "overriding",
    "read",
]

_DIALECTS: Mapping[str, ModuleType] = {
    "auto-round": auto_round,
    "bitsandbytes": bitsandbytes,
    **dict.fromkeys(awq.METHODS, awq),
    "compressed-tensors": compressed_tensors,
    "experts_int8": experts_int8,
    "fbgemm_fp8": fbgemm_fp8,
    "fp8": fp8,
    "fp_quant": fp_quant,
    "humming": humming,
    "inc": auto_round,
    **dict.fromkeys(mxfp4.METHODS, mxfp4),
    "mxfp8": mxfp8,
    fp8.DEEPSEEK_V4: fp8,
    **dict.fromkeys(gptq.METHODS, gptq),
    "moe_wna16": moe_wna16,
    **dict.fromkeys(modelopt.METHODS, modelopt),
    **dict.fromkeys(online.METHODS, online),
    "quark": quark,
    "torchao": torchao,
}

UNJUDGED: Mapping[str, str] = {
    "cpu_awq": "vLLM has it up to 0.22, for CPUs alone",
    "gguf": "its weights are in a .gguf file, which mtpfix does not read",
}
"""Methods of covered releases that no dialect reads, and why."""

UNQUANTIZED = QuantView(
    method="",
    file="config.json",
    pointer="",
    ignore=(),
    ignore_pointer="",
    groups=(),
    format=None,
)
"""Stands for the metadata of a checkpoint that has none: vLLM builds everything unquantized."""

_TWINNED = (auto_round, awq, gptq)
"""Dialects that state the same in several files."""

PLACES = ("/quantization_config", "/text_config/quantization_config", "/compression_config")
"""Where vLLM looks for metadata in `config.json`, first things first."""
_HALF = "/text_config/compression_config"
"""Where vLLM looks for the name of the method, and for nothing else."""


def find(configs: Mapping[str, JsonFile]) -> Place | None:
    """The quantization metadata that vLLM would use, or None if there is none.

    Raises:
        BrokenFileError: it is no object, or stands where vLLM finds its name and not its content.
    """
    config = configs.get("config.json")
    if config is None:
        return None
    for pointer in PLACES:
        value = _at(config.value, pointer)
        if isinstance(value, Mapping):
            place = Place("config.json", pointer, value, str(config.value.get("model_type")))
            return modelopt.elsewhere(place, configs) or place
        if value is not None:
            raise BrokenFileError(
                f"config.json: {pointer} is not an object",
                "restore the quantization_config that the quantizer wrote",
            )
        if pointer == PLACES[0] and (beside := modelopt.alone(configs)) is not None:
            return beside
    if isinstance(_at(config.value, _HALF), Mapping):
        raise BrokenFileError(
            f"config.json: vLLM takes the method from {_HALF} and does not read what it says",
            "move the object to the top, as quantization_config",
        )
    return None


def _at(value: Json, pointer: str) -> Json:
    for key in pointer.strip("/").split("/"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def overriding(view: QuantView) -> Mapping[str, Json] | None:
    """What vLLM must be given in the place of `quantization_config` to read what `view` says.

    None: what stands in another file is read all the same.
    """
    if view.file == "config.json":
        return view.raw
    return modelopt.overriding(view) if _DIALECTS[view.method] is modelopt else None


def method_of(place: Place) -> str:
    """The quantization method as vLLM names it; empty where the metadata has none."""
    stated = place.value.get("quant_method")
    if stated is None and modelopt.made(place.value):
        return modelopt.METHOD
    method = stated.lower().replace("_tensors", "-tensors") if isinstance(stated, str) else ""
    return fp8.method(place) if method == fp8.METHOD else method


def known(method: str) -> bool:
    """Whether a dialect of mtpfix reads this method."""
    return method in _DIALECTS


def akin(method: str, other: str) -> bool:
    """Whether one dialect reads the metadata of both methods."""
    return _DIALECTS.get(method) is _DIALECTS.get(other)


def read(place: Place, configs: Mapping[str, JsonFile] = MappingProxyType({})) -> QuantView:
    """The metadata, read by its dialect.

    Args:
        place: the metadata.
        configs: the files among which it was found, for those that say the same.

    Raises:
        UnknownError: mtpfix has no dialect for the method.
        BrokenFileError: the metadata is malformed.
    """
    method = method_of(place)
    if method not in _DIALECTS:
        why = f": {UNJUDGED[method]}" if method in UNJUDGED else ""
        raise UnknownError(
            f"{place.file}: quantization method {method!r:.60} is not covered yet{why}",
            f"covered: {', '.join(sorted(_DIALECTS))}",
            code="MTP902",
        )
    dialect = _DIALECTS[method]
    view: QuantView = dialect.read(place)
    if dialect is modelopt:
        return modelopt.with_twin(view, configs)
    return replace(view, twins=twins(view, configs)) if dialect in _TWINNED else view
