"""Which bits auto-round's configuration has for a module. Pure.

Source: `INCConfigParser` in `quantization/inc/config_parser.py`, and
`INCConfig.get_layer_config` before 0.24.
"""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.engines.policies.layer_bits import WHOLE, LayerBits, of_experts, of_shards
from mtpfix.engines.policies.method import Packed
from mtpfix.engines.vllm.methods.auto_round.keys import Keys
from mtpfix.engines.vllm.policy import rules
from mtpfix.model import Entry, Json, Module, QuantView


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

    def of(self, module: Module) -> LayerBits:
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

    def _experts(self, module: Module, plain: bool) -> LayerBits | None:
        """What the keys of single experts say; releases that name the class anew miss them."""
        if "fusedmoe" not in module.cls.lower():
            return None
        found = [self._said(e.text, plain=plain) for e in self._keys.below(module.name)]
        return of_experts(module.name, found)

    def _fused(self, name: str, plain: bool) -> LayerBits | None:
        """What is said about the shards of a fused layer, or of one whose name holds its name."""
        for fused, shards in self._packed.items():
            if name.count(fused) != 1:
                continue
            names = [name.replace(fused, shard) for shard in shards]
            if self._by_explicit and not any(map(self._keys.explicit, names)):
                continue
            return of_shards(name, names, [self._said(n, plain=plain) for n in names])
        return None

    def _said(self, name: str, *, plain: bool = False) -> LayerBits:
        raw = self._view.raw
        entry = self._keys.explicit(name)
        value = {} if entry is None else self._value(entry)
        return LayerBits(
            value.get("bits", WHOLE if plain else raw.get("bits")),
            value.get("group_size", -1 if plain else raw.get("group_size")),
            value.get("sym", True if plain else raw.get("sym", True)),
            entry,
        )

    def _value(self, entry: Entry) -> Mapping[str, Json]:
        found: Mapping[str, Json] = self._view.raw["extra_config"][entry.spelling]
        return found
