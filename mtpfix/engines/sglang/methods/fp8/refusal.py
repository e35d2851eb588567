"""fp8 metadata that SGLang refuses while it reads it, before any module is built. Pure.

Source: `Fp8Config.from_config` and `__init__`.
"""

from __future__ import annotations

from mtpfix.engines.policies.context import Context
from mtpfix.engines.sglang.methods.fp8.reader import MXFP8
from mtpfix.engines.sglang.methods.shared.classes import capability
from mtpfix.model import Json, QuantView

_NO_SCHEME = (
    "ValueError: Cannot find any of ['activation_scheme'] in the model's quantization config."
)
_NO_BLOCK = (
    "ValueError: The quantization block size of weight must have 2 dimensions, "
    "but got {length} dimensions."
)
_NOT_DYNAMIC = (
    "ValueError: The block-wise quantization only supports dynamic activation scheme for now, "
    "but got {scheme} activation scheme."
)
_OLD_DEVICE = (
    "ValueError: The quantization method mxfp8 is not supported for the current GPU. "
    "Minimum capability: 100. Current capability: {capability}."
)
_BLACKWELL = 100


def refusal(view: QuantView, context: Context) -> str | None:
    """Return the exception that reading the metadata ends in, or None."""
    if view.raw.get("quant_algo") != "MXFP8" and "activation_scheme" not in view.raw:
        return _NO_SCHEME
    scheme = view.raw.get("activation_scheme", "dynamic")
    if scheme not in ("static", "dynamic"):
        return f"ValueError: Unsupported activation scheme {scheme}"
    if view.method == MXFP8:
        return _on_mxfp8(scheme, context)
    return _of_block(view.raw.get("weight_block_size"), scheme)


def _of_block(size: Json, scheme: str) -> str | None:
    if size is None:
        return None
    if not isinstance(size, list):
        return f"TypeError: object of type {type(size).__name__!r} has no len()"
    if len(size) != 2:  # noqa: PLR2004 - rows and columns
        return _NO_BLOCK.format(length=len(size))
    return None if scheme == "dynamic" else _NOT_DYNAMIC.format(scheme=scheme)


def _on_mxfp8(scheme: object, context: Context) -> str | None:
    if scheme != "dynamic":
        return _NOT_DYNAMIC.format(scheme=scheme)
    found = capability(context)
    return _OLD_DEVICE.format(capability=found) if found < _BLACKWELL else None
