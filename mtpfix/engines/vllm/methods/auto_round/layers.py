"""Which bits auto-round's configuration has for a module. Pure.

Source: `INCConfigParser` in `quantization/inc/config_parser.py`, and
`INCConfig.get_layer_config` before 0.24.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mtpfix.engines.policies.method import Packed, RaisesError, ShardsDifferError
from mtpfix.engines.vllm.methods.auto_round.keys import Keys
from mtpfix.engines.vllm.policy import rules
from mtpfix.model import Entry, Json, Module, QuantView

WHOLE = 16
"""Bits from which on a layer is not quantized."""


class Said(NamedTuple):
    """What is said about one name, and the key that says it."""

    bits: Json
    group_size: Json
    sym: Json
    entry: Entry | None = None

    @property
    def quantized(self) -> bool:
        """Whether it has fewer bits than a plain weight; without any, vLLM refuses it anyway."""
        return self.bits is not None and bool(self.bits < WHOLE)

    def agrees(self, other: Said) -> bool:
        """Whether the same is said, whoever says it."""
        return self[:3] == other[:3]


class Layers:
    """The bits of every module, as one release finds them.

    Args:
        view: the metadata, its names as the mappers left them.
        packed: the packed-modules mapping.
        release: the release.
    """

    def __init__(self, view: QuantView, packed: Packed, release: str) -> None:
        self._view = view
        self._packed = packed
        self._keys = Keys(view.ignore, release)
        self._blocks = tuple(e.text for group in view.groups for e in group.targets)
        self._by_explicit: bool = rules("auto_round_explicit", release)

    def exempting(self, name: str) -> Entry | None:
        """The key that exempts a module before anything else is asked: by its whole name."""
        exempt = (e for e in self._keys.wholes(name) if self._value(e).get("bits", WHOLE) >= WHOLE)
        return next(exempt, None)

    def of(self, module: Module) -> Said:
        """What is said about `module`.

        Raises:
            RaisesError: its shards, or its experts, are not said the same about.
            PatternError: a regex takes too long.
        """
        name = module.name
        named = self._keys.exact(name) or self._keys.suffix(name)
        if named is not None:
            return self._said(named.text)
        plain = module.kind == "lm_head"
        if self._blocks:
            plain = not name.startswith(self._blocks)
        if self._keys:
            joint = self._experts(module, plain) or self._fused(name, plain)
            if joint is not None:
                return joint
        return self._said(name, plain=plain)

    def _experts(self, module: Module, plain: bool) -> Said | None:
        """What the keys of single experts say; releases that name the class anew miss them."""
        if "fusedmoe" not in module.cls.lower():
            return None
        found = [self._said(e.text, plain=plain) for e in self._keys.below(module.name)]
        if any(not said.agrees(found[0]) for said in found):
            text = f"Fused MoE layer '{module.name}' requires consistent quant config"
            raise RaisesError(f"ValueError: {text} for all sub-layers", found[0].entry)
        return found[0] if found else None

    def _fused(self, name: str, plain: bool) -> Said | None:
        """What is said about the shards of a fused layer, or of one whose name holds its name."""
        for fused, shards in self._packed.items():
            if name.count(fused) != 1:
                continue
            names = [name.replace(fused, shard) for shard in shards]
            if self._by_explicit and not any(map(self._keys.explicit, names)):
                continue
            return self._joint(name, names, plain)
        return None

    def _joint(self, name: str, names: Sequence[str], plain: bool) -> Said:
        found = [self._said(shard, plain=plain) for shard in names]
        if any(not said.agrees(found[0]) for said in found):
            text = f"Fused module '{name}' requires consistent quant config for {list(names)}"
            blamed = next((said.entry for said in found if said.entry is not None), None)
            raise ShardsDifferError(f"ValueError: {text}", blamed)
        return found[0]

    def _said(self, name: str, *, plain: bool = False) -> Said:
        raw = self._view.raw
        entry = self._keys.explicit(name)
        value = {} if entry is None else self._value(entry)
        return Said(
            value.get("bits", WHOLE if plain else raw.get("bits")),
            value.get("group_size", -1 if plain else raw.get("group_size")),
            value.get("sym", True if plain else raw.get("sym", True)),
            entry,
        )

    def _value(self, entry: Entry) -> Mapping[str, Json]:
        found: Mapping[str, Json] = self._view.raw["extra_config"][entry.spelling]
        return found
