"""Which bits auto-round's configuration has for a module. Pure.

Source: `AutoRoundConfig.get_layer_config`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from mtpfix.engines.policies.layer_bits import WHOLE, LayerBits, of_experts, of_shards
from mtpfix.engines.policies.method import Packed
from mtpfix.engines.sglang.methods.shared.rules import rules
from mtpfix.model import Entry, Json, Module, QuantView
from mtpfix.patterns import PatternError, bounded, fits_start

_SPECIAL = frozenset(r"*+?^$()[]{}|\\")


class Keys:
    """The keys of `extra_config`: names, and regexes that fit whole names.

    Args:
        entries: the keys.

    Raises:
        PatternError: too many of them are patterns.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.all = {entry.text: entry for entry in bounded(entries, _special)}
        self._patterns = [entry for entry in self.all.values() if _special(entry)]

    def first(self, name: str) -> Entry | None:
        """Return the key that is spelled like `name`, else the first whose regex fits it."""
        return self.all.get(name) or next(self._fitting(name), None)

    def below(self, name: str) -> list[Entry]:
        """Return the keys that begin with `name`."""
        return [entry for text, entry in self.all.items() if text.startswith(name)]

    def _fitting(self, name: str) -> Iterator[Entry]:
        number = len(self._patterns)
        return (entry for entry in self._patterns if _fits(entry, name, number))


def _special(entry: Entry) -> bool:
    return not _SPECIAL.isdisjoint(entry.text)


def _fits(entry: Entry, name: str, among: int) -> bool:
    """Return whether a regex fits a whole name; SGLang passes over what is no regex."""
    try:
        fits_start(entry, entry.text, "", among)  # it must be valid on its own
        return fits_start(entry, rf"(?:{entry.text})\Z", name, among)
    except PatternError as error:
        if error.hangs:
            raise
        return False


class Layers:
    """The bits of every module, as one release finds them.

    Args:
        view: the metadata.
        packed: the packed-modules mapping.
        release: the release.
    """

    def __init__(self, view: QuantView, packed: Packed, release: str) -> None:
        self._view, self._packed = view, packed
        self._keys = Keys(view.ignore)
        self._blocks = tuple(e.text for group in view.groups for e in group.targets)
        self._subclasses: bool = rules("moe_subclasses", release)

    def of(self, module: Module) -> LayerBits:
        """Return what is said about `module`.

        Raises:
            RaisesError: its shards, or its experts, are not said the same about.
            PatternError: a regex takes too long.
        """
        name = module.name
        if name in self._keys.all:
            return self._said(name, quantized=True)
        quantized = module.kind != "lm_head"
        if self._blocks:
            quantized = name.startswith(self._blocks)
        joint = self._experts(module, quantized) or self._fused(name, quantized)
        return joint or self._said(name, quantized=quantized)

    def _experts(self, module: Module, quantized: bool) -> LayerBits | None:
        named = "fusedmoe" in module.cls.lower()
        if not (named or (self._subclasses and module.kind == "experts")):
            return None
        found = [self._said(e.text, quantized=quantized) for e in self._keys.below(module.name)]
        return of_experts(module.name, found)

    def _fused(self, name: str, quantized: bool) -> LayerBits | None:
        """Return what is said about the shards of a layer whose name holds a fused name once."""
        if not self._keys.all:
            return None
        fused = next((key for key in self._packed if name.count(key) == 1), None)
        if fused is None:
            return None
        names = [name.replace(fused, shard) for shard in self._packed[fused]]
        return of_shards(name, names, [self._said(n, quantized=quantized) for n in names])

    def _said(self, name: str, *, quantized: bool) -> LayerBits:
        raw = self._view.raw
        entry = self._keys.first(name)
        extra = raw.get("extra_config")
        named = extra if isinstance(extra, Mapping) else {}
        value: Mapping[str, Json] = {} if entry is None else named[entry.spelling]
        return LayerBits(
            value.get("bits", raw.get("bits") if quantized else WHOLE),
            value.get("group_size", raw.get("group_size") if quantized else -1),
            value.get("sym", raw.get("sym") if quantized else True),
            entry,
        )
