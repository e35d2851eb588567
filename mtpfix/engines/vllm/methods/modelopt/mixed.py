"""ModelOpt with an algorithm a layer: what `quantized_layers` does not name is plain. Pure.

A layer is looked for by its name, by its shards, by what lies below it; routed experts from
0.23 also by what lies beside them. Source: `ModelOptMixedPrecisionConfig` of each release.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from mtpfix.engines.policies.method import Decide, Packed, RaisesError, Setting, plain
from mtpfix.engines.vllm.methods.modelopt.matcher import excluded_by
from mtpfix.engines.vllm.methods.modelopt.reader import algorithm, format_of, layers
from mtpfix.engines.vllm.methods.shared.classes import quantized
from mtpfix.engines.vllm.policy import rules
from mtpfix.engines.vllm.same import Same
from mtpfix.model import Decision, Entry, Group, Json, Module

_DIFFER = (
    "ValueError: Mixed quant_algo within fused layer {name}: {algos}. "
    "All shards must use the same quantization."
)
_WRAPPERS = (
    ("language_model.model.", "model.language_model."),
    ("model.language_model.", "language_model.model."),
)
_SHARDS: Mapping[str, Sequence[str]] = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}
"""Shards that are looked for where no packed mapping names any."""


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part.

    Raises:
        PatternError: a wildcard of the list is no valid pattern.
    """
    view, context = setting.view, setting.context
    exempts = excluded_by(setting)
    algorithms = _Algorithms(view.groups, layers(view.raw), setting.packed, context.release)

    def decide(module: Module) -> Decision:
        entry = exempts(module.name)
        if entry is not None:
            return plain(module, entry)
        found = algorithms.of(module.name)
        if found is None:
            return plain(module)
        one = replace(view, format=format_of(found.algo))
        return quantized(module, one, context, found.entry)

    return decide


class _Layer(NamedTuple):
    """One key of `quantized_layers`, as the name mappers left it, and its algorithm."""

    entry: Entry
    algo: str


class _Algorithms:
    """The algorithms of one release for one part: by name, and the first below each name."""

    def __init__(
        self, groups: Iterable[Group], raw: Mapping[str, Json], packed: Packed, release: str
    ) -> None:
        self._layers, self._first = _indexed(tuple(map(Same, groups)), Same(raw))
        self._packed = packed
        self._release = release

    def of(self, name: str) -> _Layer | None:
        """The key that gives `name` its algorithm, or None.

        Raises:
            RaisesError: the shards of a fused layer have several.
        """
        return (
            next(self._named(name), None)
            or self._of_shards(name, self._packed)
            or next(self._below(name), None)
            or (self._of_shards(name, _SHARDS) if self._rule("mixed_fuses") else None)
        )

    def _named(self, name: str) -> Iterator[_Layer]:
        return (self._layers[n] for n in self._spellings(name) if n in self._layers)

    def _of_shards(self, name: str, packed: Packed) -> _Layer | None:
        base, _, last = name.rpartition(".")
        names = (
            f"{spelled}.{shard}"
            for spelled in self._spellings(base or name)
            for shard in packed.get(last, ())
        )
        found = {self._layers[n].algo: self._layers[n] for n in names if n in self._layers}
        if len(found) > 1:
            error = _DIFFER.format(name=name, algos=set(found))
            raise RaisesError(error, next(iter(found.values())).entry)
        return next(iter(found.values()), None)

    def _below(self, name: str) -> Iterator[_Layer]:
        roots = list(self._spellings(name))
        if name.endswith(".experts") and self._rule("mixed_beside_experts"):
            roots.append(name.rpartition(".experts")[0])
        yield from (self._first[root] for root in roots if root in self._first)

    def _spellings(self, name: str) -> tuple[str, ...]:
        """The names that a key may have for `name`: those of other wrappers, from 0.22 on."""
        found = [name]
        if self._rule("mixed_wrappers"):
            found += ["lm_head"] if name.endswith(".lm_head") else []
            swapped = (b + name[len(a) :] for a, b in _WRAPPERS if name.startswith(a))
            found += swapped
        return tuple(dict.fromkeys(found))

    def _rule(self, key: str) -> bool:
        return bool(rules(key, self._release))


@lru_cache(maxsize=4)
def _indexed(
    groups: tuple[Same[Group], ...], raw: Same[Mapping[str, Json]]
) -> tuple[Mapping[str, _Layer], Mapping[str, _Layer]]:
    """The keys by name, and the first of them below each name; many modules ask, and releases."""
    entries = (entry for group in groups for entry in group.value.targets)
    named = {e.text: _Layer(e, algorithm(raw.value[e.spelling])) for e in entries}
    first: dict[str, _Layer] = {}
    for name, layer in named.items():
        for above in _above(name):
            first.setdefault(above, layer)
    return named, first


def _above(name: str) -> Iterator[str]:
    """What comes before each dot of a name."""
    return (name[:at] for at, letter in enumerate(name) if letter == ".")
