"""ModelOpt: one scheme, or one a layer, but for what `ignore` or `exclude_modules` spares.

Read as `ModelOptQuantConfigBase.from_config` reads it
(vLLM, `model_executor/layers/quantization/modelopt.py`): the flat form of `config.json`
has the list `ignore`, the nested form of `hf_quant_config.json` has `exclude_modules` below
`quantization`. Which of four methods is taken follows from `quant_algo`
(`override_quantization_method` of each configuration class).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mtpfix.errors import BrokenFileError
from mtpfix.model import Group, Json, QuantView
from mtpfix.quant.place import Place, entries, keys, mapping

METHOD = "modelopt"
METHODS = ("modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed")
"""vLLM's names for the four methods, any of which may stand as `quant_method`."""

NESTED = "quantization"
"""The key below which `hf_quant_config.json` has everything."""

LAYERS = "quantized_layers"
"""Which layer has which algorithm, where `quant_algo` is MIXED_PRECISION."""

_FORMATS: Mapping[str, str] = {
    "FP8": "fp8-tensor",
    "FP8_PER_CHANNEL_PER_TOKEN": "fp8-channel",
    "FP8_PB_WO": "fp8-block",
    "NVFP4": "nvfp4",
    "W4A16_NVFP4": "w4a16-nvfp4",
    "MXFP8": "mxfp8",
    "FP8_BLOCK_SCALES": "fp8-block-scales",
}
"""What is stored under each `quant_algo`, as `data/vllm/methods/modelopt*.json` name it."""


def read(place: Place) -> QuantView:
    """Reads the metadata.

    Raises:
        BrokenFileError: a part has another type than the format allows.
    """
    stated, here = _stated(place)
    key = "exclude_modules" if here else "ignore"
    where = place.at(*here, key)
    algo = algorithm(stated)
    return QuantView(
        method=_method(place.value.get("quant_method"), algo),
        file=place.file,
        pointer=place.pointer,
        ignore=entries(place.file, where, stated.get(key)),
        ignore_pointer=where,
        groups=tuple(_groups(place, stated, here)),
        format=_format(algo, place.value),
        files=(f"{place.file}#{place.pointer}",),
        raw=place.value,
        null=key in stated and stated[key] is None,
    )


def _stated(place: Place) -> tuple[Mapping[str, Json], tuple[str, ...]]:
    """What is stated, and the keys that lead to it."""
    if NESTED not in place.value:
        return place.value, ()
    stated = mapping(place.file, place.at(NESTED), place.value[NESTED])
    if stated is None:
        raise BrokenFileError(f"{place.file}: {place.at(NESTED)} is null", "remove the key")
    return stated, (NESTED,)


def _groups(place: Place, stated: Mapping[str, Json], here: tuple[str, ...]) -> Iterator[Group]:
    """The keys of `quantized_layers` as the targets of one group, where there are any."""
    where = place.at(*here, LAYERS)
    found = keys(place.file, where, stated.get(LAYERS))
    for entry in found:
        layer = mapping(place.file, entry.pointer, stated[LAYERS][entry.text])
        if layer is None or not isinstance(layer.get("quant_algo"), str):
            raise BrokenFileError(
                f"{place.file}: {entry.pointer} has no quant_algo",
                "name the algorithm of the layer",
            )
    if found:
        yield Group(LAYERS, found, None, None)


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
        alone = all(part.get("input_activations") is None for part in parts)
        if alone and len(parts) == len(groups):
            return "nvfp4-weights"
    return format_of(algo)
