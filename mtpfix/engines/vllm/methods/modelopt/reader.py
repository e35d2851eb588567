"""ModelOpt: one scheme, or one a layer, but for what `ignore` or `exclude_modules` exempts.

Read as `ModelOptQuantConfigBase.from_config` reads it
(vLLM, `model_executor/layers/quantization/modelopt.py`): the flat form of `config.json`
has the list `ignore`, from 0.33 on also `exclude_modules` where there is no `ignore`; the
nested form of `hf_quant_config.json` has `exclude_modules` below `quantization`. Which of
four methods is taken follows from `quant_algo` (`override_quantization_method` of each
configuration class).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mtpfix.model import Json, JsonFile, QuantView, Twin, Unread
from mtpfix.quant.location import Location, entries
from mtpfix.quant.readers.modelopt import BESIDE, LAYERS, NESTED, alone, groups, nested

METHOD = "modelopt"
METHODS = ("modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed")
"""vLLM's names for the four methods, any of which may stand as `quant_method`."""

_FLAT = "/quantization_config"
"""Where the flat form stands in `config.json`."""

_FORMATS: Mapping[str, str] = {
    "FP8": "fp8-tensor",
    "FP8_PER_CHANNEL_PER_TOKEN": "fp8-channel",
    "FP8_PB_WO": "fp8-block",
    "NVFP4": "nvfp4",
    "W4A16_NVFP4": "w4a16-nvfp4",
    "MXFP8": "mxfp8",
    "FP8_BLOCK_SCALES": "fp8-block-scales",
}
"""What is stored under each `quant_algo`, as the data of these methods name it."""


def read(location: Location) -> QuantView:
    """Reads the metadata.

    Raises:
        BrokenFileError: a part has another type than the format allows.
    """
    stated, here = _stated(location)
    algo = algorithm(stated)
    method = _method(location.value.get("quant_method"), algo)
    unnamed = method == "modelopt_mxfp8" and not algo and not here
    key, unread = _key(location, unnamed=unnamed, nested=bool(here))
    where = location.at(*here, key)
    return QuantView(
        method=method,
        file=location.file,
        pointer=location.pointer,
        ignore=entries(location.file, where, stated.get(key)),
        ignore_pointer=where,
        groups=tuple(groups(location, stated, here)),
        format="mxfp8" if unnamed else _format(algo, location.value),
        files=(f"{location.file}#{location.pointer}",),
        raw=location.value,
        null=key in stated and stated[key] is None and not unnamed,
        unread=unread,
    )


def _key(location: Location, *, unnamed: bool, nested: bool) -> tuple[str, Unread | None]:
    """The key of the entries, and which releases do not look there.

    Args:
        location: the metadata.
        unnamed: MXFP8 that names no algorithm has a key of its own.
        nested: in the form of `hf_quant_config.json`.
    """
    if nested or unnamed:
        return ("exclude_modules" if nested else "ignored_layers"), None
    if "ignore" in location.value or location.value.get("exclude_modules") is None:
        return "ignore", None
    return "exclude_modules", Unread("<0.33", location.at("ignore"))


def elsewhere(location: Location, configs: Mapping[str, JsonFile]) -> Location | None:
    """The file that is read in the place of `config.json`, or None.

    So it is where `config.json` gives each layer an algorithm without naming the layers
    (`get_quant_config`).
    """
    other = alone(configs)
    algo = algorithm(location.value) or algorithm(_nested(location.value))
    named = str(location.value.get("quant_method", "")).lower()
    mixed = named in METHODS and algo == "MIXED_PRECISION"
    return other if mixed and LAYERS not in location.value else None


def overriding(view: QuantView) -> Mapping[str, Json] | None:
    """What must stand in the place of `quantization_config`, so that it is read; None: cannot be.

    As it is where the file was read alone. Where `config.json` sends vLLM to the other file,
    only layers that are named in the flat form keep it from there.
    """
    if view.file != BESIDE or not view.twins:
        return view.raw
    nested = _nested(view.raw)
    if nested.get("kv_cache_quant_algo") is not None:
        return None  # the flat form says that in other words
    names = [entry.text for entry in view.ignore]
    flat = {key: value for key, value in nested.items() if key != "exclude_modules"}
    return {"quant_method": METHOD, **flat, "ignore": names}


def made(value: Mapping[str, Json]) -> bool:
    """Whether metadata that names no method is by ModelOpt."""
    producer = value.get("producer")
    named = producer.get("name") if isinstance(producer, Mapping) else None
    return named == "modelopt" or "modelopt_quant_config" in _nested(value)


def _nested(value: Mapping[str, Json]) -> Mapping[str, Json]:
    found = value.get(NESTED)
    return found if isinstance(found, Mapping) else {}


def with_twin(view: QuantView, configs: Mapping[str, JsonFile]) -> QuantView:
    """The view with the other file, and what that says of the same.

    Raises:
        BrokenFileError: a part of it has another type than the format allows.
    """
    other = alone(configs) if view.file != BESIDE else _flat(configs)
    if other is None:
        return view
    said = read(other)
    ours, theirs = _said(view), _said(said)
    differ = tuple(key for key in ours if ours[key] != theirs[key])
    twin = Twin(said.file, said.ignore_pointer, said.ignore, said.null, differ)
    return replace(view, twins=(twin,), files=(*view.files, *said.files))


def _flat(configs: Mapping[str, JsonFile]) -> Location | None:
    """What `config.json` says, where another file is read."""
    file = configs.get("config.json")
    value = file.value.get("quantization_config") if file else None
    return Location("config.json", _FLAT, value) if isinstance(value, Mapping) else None


def _said(view: QuantView) -> Mapping[str, Json]:
    """What two files must say alike besides the entries."""
    stated: Mapping[str, Json] = view.raw.get(NESTED, view.raw)
    named = layers(view.raw)
    rows = {key: algorithm(row) for key, row in named.items() if isinstance(row, Mapping)}
    return {"quant_algo": algorithm(stated), LAYERS: rows}


def _stated(location: Location) -> tuple[Mapping[str, Json], tuple[str, ...]]:
    """What is stated, and the keys that lead to it."""
    if NESTED not in location.value:
        return location.value, ()
    return nested(location)


def layers(raw: Mapping[str, Json]) -> Mapping[str, Json]:
    """`quantized_layers` of metadata that has been read; empty where there are none."""
    stated: Mapping[str, Json] = raw.get(NESTED, raw)
    found: Mapping[str, Json] = stated.get(LAYERS) or {}
    return found


def algorithm(stated: Mapping[str, Json]) -> str:
    """The `quant_algo` in capitals; empty where there is none."""
    algo = stated.get("quant_algo")
    return str(algo).upper() if algo else ""


def _method(named: Json, algo: str) -> str:
    """The method that is taken for an algorithm, whatever the metadata calls it.

    In the order in which the configuration classes are asked.
    """
    if algo == "FP8":
        return "modelopt"
    if "FP4" in algo:
        return "modelopt_fp4"
    if "MXFP8" in algo:
        return "modelopt_mxfp8"
    if algo == "MIXED_PRECISION":
        return "modelopt_mixed"
    return named.lower() if isinstance(named, str) and named.lower() in METHODS else METHOD


def format_of(algo: str) -> str | None:
    """The format of what an algorithm stores; None for one that is not known."""
    return _FORMATS.get(algo)


def _format(algo: str, stated: Mapping[str, Json]) -> str | None:
    """The format; NVFP4 without scales of activations has one of its own (`_from_config`)."""
    groups = stated.get("config_groups")
    if algo == "NVFP4" and isinstance(groups, Mapping) and groups:
        parts = [part for part in groups.values() if isinstance(part, Mapping)]
        weights_only = all(part.get("input_activations") is None for part in parts)
        if weights_only and len(parts) == len(groups):
            return "nvfp4-weights"
    return format_of(algo)
