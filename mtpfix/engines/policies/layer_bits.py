"""What auto-round's configuration says of the bits of one layer, and of layers built as one. Pure.

vLLM and SGLang compare it alike (`get_layer_config`); which key speaks of a name is each engine's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mtpfix.engines.policies.method import RaisesError, ShardsDifferError
from mtpfix.model import Entry, Json

WHOLE = 16
"""Bits from which on a layer is not quantized."""


class LayerBits(NamedTuple):
    """What is said about one name, and the key that says it."""

    bits: Json
    group_size: Json
    sym: Json
    entry: Entry | None = None

    @property
    def quantized(self) -> bool:
        """Whether it has fewer bits than a plain weight; without any, engines refuse it anyway."""
        return self.bits is not None and bool(self.bits < WHOLE)

    def agrees(self, other: LayerBits) -> bool:
        """Whether the same is said, whoever says it."""
        return self[:3] == other[:3]


def of_experts(name: str, found: Sequence[LayerBits]) -> LayerBits | None:
    """Return what is said about single experts of the layer `name`; None: nothing is.

    Raises:
        RaisesError: it differs.
    """
    if any(not said.agrees(found[0]) for said in found):
        text = f"Fused MoE layer '{name}' requires consistent quant config"
        raise RaisesError(f"ValueError: {text} for all sub-layers", found[0].entry)
    return found[0] if found else None


def of_shards(name: str, shards: Sequence[str], found: Sequence[LayerBits]) -> LayerBits:
    """Return what is said about the shards of the fused layer `name`.

    Raises:
        ShardsDifferError: it differs.
    """
    if any(not said.agrees(found[0]) for said in found):
        text = f"Fused module '{name}' requires consistent quant config for {list(shards)}"
        blamed = next((said.entry for said in found if said.entry is not None), None)
        raise ShardsDifferError(f"ValueError: {text}", blamed)
    return found[0]
