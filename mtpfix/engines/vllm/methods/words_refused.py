"""AWQ and GPTQ metadata that vLLM refuses while it reads it, before any module is built. Pure.

What is raised there comes out of the validation of `VllmConfig`. Source: `from_config` and
`__init__` of `AutoAWQConfig` (`AWQMarlinConfig` and `AWQConfig` before 0.24) and
`AutoGPTQConfig`, `normalize_and_validate_gptq_desc_act`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtpfix.engines.vllm.policy import Context, in_releases
from mtpfix.model import Json, QuantView

_ACT = "GPTQ group activation ordering (desc_act=True) is no longer supported"
_NEEDED: Mapping[str, Sequence[Sequence[str]]] = {
    "awq": (("w_bit", "bits"), ("q_group_size", "group_size"), ("zero_point",)),
    "gptq": (("bits",), ("group_size",), ("desc_act",), ("sym",)),
}
"""Keys of which one each must be there, in the order in which they are looked for."""


def refusal(view: QuantView, context: Context) -> str | None:
    """The exception that reading the metadata ends in, or None."""
    why = _why(view, context.release) or _half(view, context)
    return None if why is None else f"ValidationError: 1 validation error for VllmConfig\n  {why}"


def _why(view: QuantView, release: str) -> str | None:
    raw = view.raw
    for keys in _NEEDED[view.method]:
        if not any(key in raw for key in keys):
            return (
                f"Value error, Cannot find any of {list(keys)} in the model's quantization config."
            )
    if view.method == "awq":
        return _awq(raw, release)
    if in_releases(">=0.30", release) and _orders(raw):
        return f"Value error, {_ACT}"
    if view.format != "gptq" and in_releases(">=0.22", release):
        bits, sym = raw["bits"], raw["sym"]
        return f"Value error, Unsupported quantization config: bits={bits}, sym={sym}"
    return None


def _half(view: QuantView, context: Context) -> str | None:
    """What older releases say of a model in BF16 whose weights Marlin does not take."""
    raw, release = view.raw, context.release
    dtype = context.fields.get("torch_dtype") or context.fields.get("dtype")
    if view.method == "awq":
        keys = ("bits", "group_size", "zero_point")
        slow = in_releases("<0.24", release) and any(raw.get(key) is None for key in keys)
    else:
        slow = in_releases("<0.22", release) and view.format != "gptq"
    if not slow or dtype != "bfloat16":
        return None
    return (
        f"Value error, torch.bfloat16 is not supported for quantization method {view.method}. "
        "Supported dtypes: [torch.float16]"
    )


def _awq(raw: Mapping[str, Json], release: str) -> str | None:
    bits = raw["w_bit"] if "w_bit" in raw else raw["bits"]
    if bits == 4:  # noqa: PLR2004 - what the name stands for
        return None
    if in_releases(">=0.24", release):
        return f"Value error, Unsupported num_bits = {bits}."
    only = "Currently, only 4-bit weight quantization is supported for AWQ"
    return f"Value error, {only}, but got {bits} bits."


def _orders(raw: Mapping[str, Json]) -> bool:
    """Whether groups of weights are ordered by activation, somewhere."""
    base, size = raw["desc_act"], raw["group_size"]
    dynamic = raw.get("dynamic")
    rules = dynamic if isinstance(dynamic, Mapping) else {}
    own = [
        (value.get("desc_act", base), value.get("group_size", size))
        for key, value in rules.items()
        if not key.startswith("-:") and isinstance(value, Mapping)
    ]
    return any(order and group != -1 for order, group in ((base, size), *own))
