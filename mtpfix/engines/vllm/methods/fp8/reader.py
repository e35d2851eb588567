"""fp8: one scheme for every layer, but for `ignored_layers` or `modules_to_not_convert`.

Read as `Fp8Config.from_config` reads it: the first of the two lists that is not empty.
(vLLM, `model_executor/layers/quantization/fp8.py`). In a DeepSeek-V4 the same metadata
selects a method of its own, which chooses the format of routed experts by `expert_dtype`
of `config.json` (`DeepseekV4FP8Config.override_quantization_method`).
"""

from __future__ import annotations

from mtpfix.engines.vllm import policy
from mtpfix.model import QuantView
from mtpfix.quant.location import Location, entries

METHOD = "fp8"
DEEPSEEK_V4 = "deepseek_v4_fp8"
LISTS = ("ignored_layers", "modules_to_not_convert")


def method(location: Location) -> str:
    """The method that metadata of this dialect selects."""
    own = location.model_type in policy.method(DEEPSEEK_V4).model_types
    stated = str(location.value.get("quant_method")).lower()
    return DEEPSEEK_V4 if own or stated == DEEPSEEK_V4 else METHOD


def read(location: Location) -> QuantView:
    """Reads the metadata.

    Raises:
        BrokenFileError: a list is none, or holds something else than strings.
    """
    found = {
        key: entries(location.file, location.at(key), location.value.get(key)) for key in LISTS
    }
    present = [key for key in LISTS if key in location.value]
    key = next((key for key in LISTS if found[key]), (*present, *LISTS)[0])
    return QuantView(
        method=method(location),
        file=location.file,
        pointer=location.pointer,
        ignore=found[key],
        ignore_pointer=location.at(key),
        groups=(),
        format=_format(location),
        files=(f"{location.file}#{location.pointer}",),
        raw=location.value,
        null=key in location.value and location.value[key] is None,
    )


def _format(location: Location) -> str:
    """The format of what is quantized; scales of activations are stored where they are static."""
    if location.value.get("weight_block_size"):
        return "fp8-block"
    return (
        "fp8-tensor-static" if location.value.get("activation_scheme") == "static" else "fp8-tensor"
    )
