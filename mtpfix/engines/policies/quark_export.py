"""What vLLM and SGLang alike raise for the key `export` of quark's metadata. Pure.

Source: `QuarkConfig.from_config`. How layers with a quantized KV cache are found and compared is
each engine's.
"""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.model import QuantView

OUTPUTS = "output_tensors"
"""The key for what a layer hands on: of some layers, what goes to the KV cache."""
NO_CACHE = (
    "ValueError: The Quark quantized model has the kv_cache_group parameter setting, but no "
    "kv_cache quantization settings were found in the quantization configuration."
)
UNLIKE_CACHE = (
    "ValueError: The quantization method used for kv_cache should be the same, but the "
    "quantization method for the kv_cache layer in the config is different."
)
EMPTY_CACHE = "ValueError: The kv_cache quantization configuration is empty."
_NO_EXPORT = (
    "ValueError: The export key should be included in the configurations of Quark quantized model"
)


def refusal(view: QuantView) -> str | None:
    """Return the exception that the key ends in before any layer is looked at, or None."""
    export = view.raw.get("export")
    if not isinstance(export, Mapping):
        return _NO_EXPORT
    if not isinstance(export.get("kv_cache_group"), list | str):
        return "TypeError: object of type 'NoneType' has no len()"
    return None
