"""AWQ metadata that vLLM refuses while it reads it, before any module is built. Pure.

Source: `from_config` and `__init__` of `AutoAWQConfig` (`AWQMarlinConfig` and `AWQConfig` before
0.24).
"""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.engines.policies.context import Context, in_releases
from mtpfix.engines.vllm.methods.shared.value_errors import missing, no_bfloat16, validation_error
from mtpfix.model import Json, QuantView

_NEEDED = (("w_bit", "bits"), ("q_group_size", "group_size"), ("zero_point",))
"""Keys of which one each must be there, in the order in which they are looked for."""


def refusal(view: QuantView, context: Context) -> str | None:
    """The exception that reading the metadata ends in, or None."""
    raw, release = view.raw, context.release
    why = missing(raw, _NEEDED) or _bits(raw, release)
    slow = any(raw.get(key) is None for key in ("bits", "group_size", "zero_point"))
    if why is None and slow and in_releases("<0.24", release):
        why = no_bfloat16(view, context)
    return validation_error(why)


def _bits(raw: Mapping[str, Json], release: str) -> str | None:
    bits = raw["w_bit"] if "w_bit" in raw else raw["bits"]
    if bits == 4:  # noqa: PLR2004 - what the name stands for
        return None
    if in_releases(">=0.24", release):
        return f"Unsupported num_bits = {bits}."
    only = "Currently, only 4-bit weight quantization is supported for AWQ"
    return f"{only}, but got {bits} bits."
