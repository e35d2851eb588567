"""fp8 and mxfp8: one scheme for every layer, but for one list under one of two keys. Pure.

Read as `Fp8Config.from_config` reads it: the first key that is there, even if its list is empty.
"""

from __future__ import annotations

from mtpfix.model import QuantView
from mtpfix.quant.location import Location, entries

FP8, MXFP8 = "fp8", "mxfp8"
KEYS = ("ignored_layers", "modules_to_not_convert")


def read(location: Location) -> QuantView:
    """Return what metadata says.

    Raises:
        BrokenFileError: the list is none, or holds something else than strings.
    """
    key = next((key for key in KEYS if key in location.value), KEYS[0])
    value = location.value.get(key)
    return QuantView(
        method=MXFP8 if MXFP8 in str(location.value.get("quant_method")) else FP8,
        file=location.file,
        pointer=location.pointer,
        ignore=entries(location.file, location.at(key), value),
        ignore_pointer=location.at(key),
        groups=(),
        format=_format(location),
        files=(f"{location.file}#{location.pointer}",),
        raw=location.value,
        null=key in location.value and value is None,
    )


def _format(location: Location) -> str:
    """Return the format of what is quantized; a static one has scales of activations."""
    if MXFP8 in str(location.value.get("quant_method")):
        return MXFP8
    if location.value.get("weight_block_size"):
        return "fp8-block"
    static = location.value.get("activation_scheme") == "static"
    return "fp8-tensor-static" if static else "fp8-tensor"
