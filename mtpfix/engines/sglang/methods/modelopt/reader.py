"""ModelOpt: one algorithm, or one a layer, but for a list of names. Pure.

Read as `from_config` of each configuration class reads it: flat where `quant_algo` stands at
the top, else nested below `quantization`.
"""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.engines.sglang.methods.modelopt.selection import FP4, MIXED, MXFP8, W4AFP8, newest
from mtpfix.model import Json, JsonFile, QuantView, Unread
from mtpfix.quant.location import Location, entries
from mtpfix.quant.readers.modelopt import BESIDE, LAYERS, NESTED, alone, groups, nested

_KEYS: Mapping[str, tuple[str, ...]] = {
    FP4: ("ignore", "modules_to_not_convert", "exclude_modules"),
    MIXED: ("ignore", "exclude_modules"),
    MXFP8: ("ignored_layers", "modules_to_not_convert", "exclude_modules", "ignore"),
}
"""The keys of the list in the flat form, the first that is there; elsewhere only `ignore`."""
_SINCE = {FP4: "<0.5.23", MIXED: "<0.5.17"}
"""The releases that look nowhere but under `ignore`."""
_FORMATS = {
    "FP8": "fp8-tensor",
    "FP8_PER_CHANNEL_PER_TOKEN": "fp8-channel",
    "FP8_PB_WO": "fp8-block",
    "FP8_BLOCK_SCALES": "fp8-block",
    "NVFP4": "modelopt-nvfp4",
    "NVFP4_AWQ": "modelopt-nvfp4",
    "W4A16_NVFP4": "modelopt-nvfp4",
    "MXFP8": "mxfp8",
}


def read(location: Location) -> QuantView:
    """Return what metadata says; its method is the one of the newest release.

    Raises:
        BrokenFileError: a part has another type than the format allows.
    """
    stated, here = _stated(location)
    method = newest(location.value)
    found = _KEYS.get(method, ("ignore",)) if not here else ("exclude_modules",)
    key = next((key for key in found if key in stated), found[0])
    where = location.at(*here, key)
    late = None if key == "ignore" or here else _SINCE.get(method)
    unread = method == W4AFP8 or (method == MXFP8 and location.file == BESIDE)
    return QuantView(
        method=method,
        file=location.file,
        pointer=location.pointer,
        ignore=() if unread else entries(location.file, where, stated.get(key)),
        ignore_pointer=where,
        groups=tuple(groups(location, stated, here)),
        format=format_of(str(stated.get("quant_algo"))),
        files=(f"{location.file}#{location.pointer}",),
        raw=location.value,
        null=key in stated and stated[key] is None,
        unread=None if late is None else Unread(late, location.at("ignore")),
    )


def format_of(algo: str) -> str | None:
    """Return the format of what an algorithm stores; None for one that is not known."""
    return _FORMATS.get(algo.upper())


def elsewhere(location: Location, configs: Mapping[str, JsonFile]) -> Location | None:
    """Return the file that is read in the place of `config.json`, or None.

    So it is from 0.5.15 on where `config.json` does not say how the KV cache is quantized.
    """
    if newest(location.value) != MIXED or not incomplete(location.value):
        return None
    return alone(configs)


def incomplete(value: Mapping[str, Json]) -> bool:
    """Return whether `config.json` lacks parts for which the other file is looked at."""
    cache = "kv_cache_quant_algo" in value or "kv_cache_scheme" in value
    return LAYERS not in value or not cache


def _stated(location: Location) -> tuple[Mapping[str, Json], tuple[str, ...]]:
    """Return what is stated, and the keys that lead to it."""
    if location.value.get("quant_algo") is not None or NESTED not in location.value:
        return location.value, ()
    return nested(location)
