"""Which of quark's configurations a module falls under: by name, else the one for all. Pure.

Source: `QuarkConfig._find_matched_config` of each release. A third kind, by the type of the
layer (`layer_type_quant_config`), is never found: its keys are strings, and vLLM looks for
the class itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

from mtpfix.engines.policies.method import Packed, RaisesError
from mtpfix.engines.policies.quark_export import OUTPUTS
from mtpfix.engines.vllm.methods.quark.keys import Keys
from mtpfix.engines.vllm.policy import rules
from mtpfix.model import Entry, Json, QuantView

_NO_TYPES = {
    True: "AttributeError: 'NoneType' object has no attribute 'get'",
    False: "TypeError: argument of type 'NoneType' is not iterable",
}
_NO_LAYERS = "AttributeError: 'NoneType' object has no attribute 'items'"
_SHARDS = (
    "ValueError: Found a different quantization configuration for {shards} in {name}. vLLM "
    "requires all to use the same scheme."
)


_HASH = "TypeError: unhashable type: 'dict'"


class Found(NamedTuple):
    """One configuration, and the key that it stands under; None for the one for all."""

    config: Json
    entry: Entry | None


class Layers:
    """The configurations of one checkpoint, as one release looks for them.

    Args:
        view: the metadata, its names as the mappers left them.
        packed: the packed-modules mapping.
        release: the release.
    """

    def __init__(self, view: QuantView, packed: Packed, release: str) -> None:
        self._view = view
        self._packed = packed
        self._whole = Found(view.raw.get("global_quant_config"), None)
        self._by_name = _by_name(view)
        self._keys = _keys(tuple(found.entry.text for found in self._by_name if found.entry))
        self._eager: bool = rules("quark_types_first", release)
        """Whether the configurations by type are looked at before those by name."""
        self._hashes: bool = rules("quark_hashes", release)
        """Whether lists are compared as sets, which no list of configurations can be made."""

    def of(self, name: str) -> Found:
        """The configuration of the module `name`.

        Raises:
            RaisesError: the shards of a fused layer have different ones, or a part is missing.
        """
        if self._eager:
            self._demand_types()
        last = name.rpartition(".")[2]
        if last not in self._packed:
            return self._named(name)
        shards = [name.replace(last, shard) for shard in self._packed[last]]
        found = [self._whole if shard == name else self.of_shard(shard) for shard in shards]
        if self._hashes and len(found) > 1 and _unhashable(found[0].config):
            raise RaisesError(_HASH, found[0].entry)
        if any(not same(other.config, found[0].config) for other in found[1:]):
            text = _SHARDS.format(shards=list(self._packed[last]), name=name)
            raise RaisesError(text, next((f.entry for f in found if f.entry is not None), None))
        return found[0]

    def of_shard(self, name: str) -> Found:
        """The configuration of one shard; its last part can be a fused name once more."""
        last = name.rpartition(".")[2]
        return self.of(name) if last in self._packed else self._named(name)

    def _named(self, name: str) -> Found:
        if not self._eager and self._view.raw.get("layer_quant_config") is None:
            raise RaisesError(_NO_LAYERS)
        number = self._keys.first(name)
        if number is not None:
            return self._by_name[number]
        self._demand_types()
        return self._whole

    def _demand_types(self) -> None:
        if self._view.raw.get("layer_type_quant_config") is None:
            raise RaisesError(_NO_TYPES[self._eager])


_keys = lru_cache(maxsize=64)(Keys)


def _by_name(view: QuantView) -> tuple[Found, ...]:
    """Configurations by name, one for each text: of two that a mapper made alike, the last."""
    layers = view.raw.get("layer_quant_config")
    stated = layers if isinstance(layers, Mapping) else {}
    patterns = cache_patterns(view)
    found: dict[str, Found] = {}
    for group in view.groups:
        config = _without_cache(group.name, stated[group.name], patterns)
        for entry in group.targets:
            found[entry.text] = Found(config, entry)
    return tuple(found.values())


def _without_cache(name: str, config: Json, patterns: Sequence[str]) -> Json:
    """A configuration without what it says of the KV cache, which vLLM takes out."""
    cached = any(fnmatchcase(name, pattern) for pattern in patterns)
    if isinstance(config, Mapping) and (cached or (patterns and name == "*q_proj")):
        return {**config, OUTPUTS: None}
    return config


def cache_patterns(view: QuantView) -> tuple[str, ...]:
    """Names of the layers whose output goes to a quantized KV cache."""
    export = view.raw.get("export")
    group = export.get("kv_cache_group") if isinstance(export, Mapping) else None
    return tuple(p for p in group if isinstance(p, str)) if isinstance(group, list) else ()


def same(one: Json, other: Json) -> bool:
    """Whether two configurations are alike, as vLLM compares them (`deep_compare`)."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        alike = one.keys() == other.keys()
        return alike and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return _same_items(one, other)
    return bool(one == other)


def _unhashable(config: Json) -> bool:
    """Whether a list of configurations stands in the place of one."""
    values = config.values() if isinstance(config, Mapping) else ()
    return any(isinstance(v, list) and any(isinstance(i, Mapping) for i in v) for v in values)


def _same_items(one: Iterable[Json], other: Iterable[Json]) -> bool:
    return all(same(a, b) for a, b in zip(one, other, strict=False))
