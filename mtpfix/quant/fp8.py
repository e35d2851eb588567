"""fp8: one scheme for every layer, but for `ignored_layers` or `modules_to_not_convert`.

Read as `Fp8Config.from_config` reads it: the first of the two lists that is not empty.
(vLLM, `model_executor/layers/quantization/fp8.py`). In a DeepSeek-V4 the same metadata
selects a method of its own, which chooses the format of routed experts by `expert_dtype`
of `config.json` (`DeepseekV4FP8Config.override_quantization_method`).
"""

from __future__ import annotations

from mtpfix.model import QuantView
from mtpfix.quant.place import Place, entries

METHOD = "fp8"
DEEPSEEK_V4 = "deepseek_v4_fp8"
LISTS = ("ignored_layers", "modules_to_not_convert")


def method(place: Place) -> str:
    """The method that metadata of this dialect selects."""
    own = place.model_type == "deepseek_v4"
    stated = str(place.value.get("quant_method")).lower()
    return DEEPSEEK_V4 if own or stated == DEEPSEEK_V4 else METHOD


def read(place: Place) -> QuantView:
    """Reads the metadata.

    Raises:
        BrokenFileError: a list is none, or holds something else than strings.
    """
    found = {key: entries(place.file, place.at(key), place.value.get(key)) for key in LISTS}
    present = [key for key in LISTS if key in place.value]
    key = next((key for key in LISTS if found[key]), (*present, *LISTS)[0])
    return QuantView(
        method=method(place),
        file=place.file,
        pointer=place.pointer,
        ignore=found[key],
        ignore_pointer=place.at(key),
        groups=(),
        format=_format(place),
        files=(f"{place.file}#{place.pointer}",),
        raw=place.value,
        null=key in place.value and place.value[key] is None,
    )


def _format(place: Place) -> str:
    """The format of what is quantized; scales of activations are stored where they are static."""
    if place.value.get("weight_block_size"):
        return "fp8-block"
    return "fp8-tensor-static" if place.value.get("activation_scheme") == "static" else "fp8-tensor"
