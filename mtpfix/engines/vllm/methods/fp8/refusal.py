"""fp8 metadata that vLLM refuses while it reads it, before any module is built. Pure.

Source: `Fp8Config.from_config` and `__init__`.
"""

from __future__ import annotations

from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.methods.shared.value_errors import INVALID
from mtpfix.model import Json, QuantView

_NO_SCHEME = (
    f"{INVALID}Cannot find any of ['activation_scheme'] in the model's quantization config."
)
_NO_BLOCK = (
    f"{INVALID}The quantization block size of weight must have 2 dimensions, "
    "but got {length} dimensions"
)
_NOT_DYNAMIC = (
    f"{INVALID}The block-wise quantization only supports dynamic activation scheme for now, "
    "but got {scheme} activation scheme."
)


def refusal(view: QuantView) -> str | None:
    """The exception that reading the metadata ends in, or None."""
    known = policy.method(view.method).activation_schemes
    if known is None:  # a method that has no such key
        return None
    if "activation_scheme" not in view.raw:
        return _NO_SCHEME
    scheme = view.raw["activation_scheme"]
    if scheme not in known:
        return f"{INVALID}Unsupported activation scheme {scheme}"
    return _refused_block(view.raw.get("weight_block_size"), scheme)


def _refused_block(size: Json, scheme: str) -> str | None:
    """The exception that the size of blocks ends in, or None."""
    if size is None:
        return None
    if not isinstance(size, list):
        return f"TypeError: object of type {type(size).__name__!r} has no len()"
    if len(size) != 2:  # noqa: PLR2004 - rows and columns
        return _NO_BLOCK.format(length=len(size))
    return None if scheme == "dynamic" else _NOT_DYNAMIC.format(scheme=scheme)
