"""Which packed integers Marlin takes, and which sizes of experts. Pure.

Source: `quantization/marlin_utils.py`: `check_marlin_supported` and
`check_moe_marlin_supports_layer`.
"""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.engines.policies.context import Context, on_platform
from mtpfix.engines.policies.expression import Value
from mtpfix.engines.policies.marlin import GROUPS, HIDDEN, SIZES, SYMMETRIC, TILE
from mtpfix.model import Json

ASYMMETRIC = ((4, False),)
"""Bits of AWQ's weights, and that they are not symmetric: they have zero points."""


def takes_gptq(raw: Mapping[str, Json], context: Context) -> bool:
    """Return whether GPTQ's weights go to Marlin."""
    if not on_platform(context, "cuda") or raw.get("desc_act") is None:
        return False
    fits = (raw.get("bits"), raw.get("sym")) in SYMMETRIC and raw.get("group_size") in GROUPS
    return fits and raw.get("checkpoint_format") != "marlin" and not raw.get("is_marlin_format")


def takes_awq(raw: Mapping[str, Json], context: Context) -> bool:
    """Return whether AWQ's weights go to Marlin."""
    fits = raw.get("bits") == 4 and raw.get("group_size") in GROUPS  # noqa: PLR2004
    return on_platform(context, "cuda") and fits and raw.get("zero_point") is True


def takes_experts(group: Json, fields: Mapping[str, Value]) -> bool:
    """Return whether Marlin takes experts of the sizes that a configuration has."""
    if not isinstance(group, int) or group not in GROUPS:
        return False
    hidden = fields.get("hidden_size")
    if isinstance(hidden, int) and hidden % HIDDEN:
        return False
    width = next((fields[key] for key in SIZES if fields.get(key) is not None), None)
    return not isinstance(width, int) or width % max(TILE, group) == 0
