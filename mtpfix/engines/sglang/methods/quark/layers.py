"""Which of quark's configurations a module falls under: by name, by type, else that for all. Pure.

Source: `QuarkConfig._find_matched_config` of each release.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import NamedTuple

from mtpfix.engines.policies.method import Packed, RaisesError
from mtpfix.engines.policies.quark_export import OUTPUTS
from mtpfix.engines.sglang.methods.shared.rules import rules
from mtpfix.model import Entry, Json, QuantView

_EXPERTS = ".experts"
_HALF, _WHOLE = ".wq_a", ".wqkv_a"
_SHARDS = (
    "ValueError: Found a different quantization configuration for {shards} in {name}. {speaker} "
    "requires all to use the same scheme."
)
_NOT_ITERABLE = "TypeError: 'NoneType' object is not iterable"
_NO_TYPES = "TypeError: argument of type 'NoneType' is not iterable"
_ALL_THE_SAME = "SGLang requires all to use the same scheme."


class Found(NamedTuple):
    """One configuration, and the key that it stands under; None: no key does."""

    config: Json
    entry: Entry | None = None


class Layers:
    """The configurations of one checkpoint, as one release looks for them.

    Args:
        view: the metadata, its names as the mappers left them.
        packed: the packed-modules mapping.
        release: the release.
    """

    def __init__(self, view: QuantView, packed: Packed, release: str) -> None:
        self._raw, self._packed, self._release = view.raw, packed, release
        self._experts: bool = rules("quark_whole_first", release)
        mapped: bool = rules("quark_maps_layers", release)
        self._by_name = _by_name(view, mapped=mapped, mirrored=rules("quark_mirrors", release))

    def of(self, name: str, cls: str) -> Found:
        """Return the configuration of the module `name`.

        Raises:
            RaisesError: the shards of a fused layer have different ones, or a part is missing.
        """
        last = name.rpartition(".")[2]
        if last not in self._packed:
            return self._named(name, cls)
        shards = self._packed[last]
        names = [name.replace(last, shard) for shard in shards]
        found = [
            self.of(shard, cls) if shard != name else self._named(name, cls) for shard in names
        ]
        if any(not same(other.config, found[0].config) for other in found[1:]):
            speaker = rules("speaker", self._release)
            text = _SHARDS.format(shards=list(shards), name=name, speaker=speaker)
            raise RaisesError(text, next((f.entry for f in found if f.entry is not None), None))
        return found[0]

    def _named(self, name: str, cls: str) -> Found:
        if self._raw.get("layer_quant_config") is None:
            raise RaisesError(_NOT_ITERABLE)
        by_name = next((f for key, f in self._by_name.items() if fnmatchcase(name, key)), None)
        found = by_name or self._of_experts(name)
        if found is not None:
            return found
        types = self._raw.get("layer_type_quant_config")
        if not isinstance(types, Mapping):
            raise RaisesError(_NO_TYPES)
        return Found(types[cls]) if cls in types else Found(self._raw.get("global_quant_config"))

    def _of_experts(self, name: str) -> Found | None:
        """Return what the keys of single experts say, where releases look at them.

        Raises:
            RaisesError: they do not say the same of all experts.
        """
        if not self._experts or not name.endswith(_EXPERTS):
            return None
        root = f"{name}."
        below = {k[len(root) :]: f for k, f in self._by_name.items() if k.startswith(root)}
        if not below:
            return None
        first = next(iter(below.values()))
        error = _uneven(name, below)
        if error is not None:
            raise RaisesError(f"ValueError: {error}", first.entry)
        return first


def _uneven(name: str, below: Mapping[str, Found]) -> str | None:
    """Return what is wrong with the keys of single experts, in the order of the checks."""
    layers: dict[int, set[str]] = {}
    for suffix in below:
        index, _, layer = suffix.partition(".")
        if not index.isdigit() or not layer:
            return (
                f"Found a per-expert entry {suffix!r} in {name} that is "
                "not <expert index>.<projection>."
            )
        layers.setdefault(int(index), set()).add(layer)
    missing = sorted(set(range(max(layers) + 1)) - layers.keys())
    if missing:
        return (
            f"Found per-expert entries in {name} that skip experts {missing[:4]}. {_ALL_THE_SAME}"
        )
    if any(each != next(iter(layers.values())) for each in layers.values()):
        return f"Found different projections pinned per expert in {name}. {_ALL_THE_SAME}"
    configs = [found.config for found in below.values()]
    if any(not same(config, configs[0]) for config in configs):
        return (
            f"Found different quantization configurations among the experts of {name}. "
            f"{_ALL_THE_SAME}"
        )
    return None


def mirrored(entry: Entry) -> Entry | None:
    """Return the key of a fused layer that stands beside the key of its first half, or None."""
    if not entry.text.endswith(_HALF):
        return None
    text = entry.text.removesuffix(_HALF) + _WHOLE
    return replace(entry, text=text, written=entry.spelling)


def _is_mirrored(entry: Entry) -> bool:
    return entry.text.endswith(_WHOLE) and entry.spelling.endswith(_HALF)


def _by_name(view: QuantView, *, mapped: bool, mirrored: bool) -> Mapping[str, Found]:
    """Return configurations by key; of two that a mapper made alike, the last."""
    layers = view.raw.get("layer_quant_config")
    stated = layers if isinstance(layers, Mapping) else {}
    found: dict[str, Found] = {}
    behind: dict[str, Found] = {}
    for group in view.groups:
        config = _without_cache(group.name, stated[group.name], view)
        for entry in group.targets:
            if _is_mirrored(entry):
                behind.setdefault(entry.text, Found(config, entry))
            else:
                found[entry.text if mapped else entry.spelling] = Found(config, entry)
    if mirrored:
        for text, mirror in behind.items():
            found.setdefault(text, mirror)
    return found


def _without_cache(name: str, config: Json, view: QuantView) -> Json:
    """Return a configuration without what it says of the KV cache, which SGLang takes out."""
    cached = kv_cache(view)
    if isinstance(config, Mapping) and (name in cached or (cached and name == "*q_proj")):
        return {**config, OUTPUTS: None}
    return config


def kv_cache(view: QuantView) -> tuple[Json, ...]:
    """Return the keys of the layers whose output goes to a quantized KV cache."""
    export = view.raw.get("export")
    group = export.get("kv_cache_group") if isinstance(export, Mapping) else None
    return tuple(group) if isinstance(group, list) else ()


def same(one: Json, other: Json) -> bool:
    """Return whether two configurations are alike, as SGLang compares them (`deep_compare`)."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return _members(one) == _members(other)
    return type(one) is type(other) and bool(one == other)


def _members(values: Iterable[Json]) -> set[str]:
    return {repr(value) for value in values}
