"""What vLLM says of metadata that lacks a key or that it serves in half precision alone. Pure.

It comes out of the validation of `VllmConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtpfix.engines.policies.context import Context
from mtpfix.model import Json, QuantView

INVALID = "ValidationError: 1 validation error for VllmConfig…Value error, "
"""What a ValueError of a method begins with that is raised while `VllmConfig` is validated."""


def validation_error(why: str | None) -> str | None:
    """Return the exception for what a ValueError says; None where there is none."""
    start = "ValidationError: 1 validation error for VllmConfig\n  Value error, "
    return None if why is None else f"{start}{why}"


def missing(raw: Mapping[str, Json], needed: Sequence[Sequence[str]]) -> str | None:
    """Return what is said where the metadata has none of some keys, or None.

    Args:
        raw: the metadata.
        needed: keys of which one each must be there, in the order in which they are looked for.
    """
    for keys in needed:
        if not any(key in raw for key in keys):
            return f"Cannot find any of {list(keys)} in the model's quantization config."
    return None


def no_bfloat16(view: QuantView, context: Context) -> str | None:
    """Return what is said of a model in BF16 whose weights Marlin does not take, or None."""
    dtype = context.fields.get("torch_dtype") or context.fields.get("dtype")
    if dtype != "bfloat16":
        return None
    return (
        f"torch.bfloat16 is not supported for quantization method {view.method}. "
        "Supported dtypes: [torch.float16]"
    )
