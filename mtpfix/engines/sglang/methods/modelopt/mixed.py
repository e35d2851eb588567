"""ModelOpt with an algorithm a layer: what `quantized_layers` does not name is plain. Pure.

A layer is looked for by its name, by its shards, and by what lies below it; that comes before
the list, so that shards that differ are an error whatever the list says. Source:
`ModelOptMixedPrecisionConfig` of each release.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mtpfix.engines.policies.method import Decide, Packed, RaisesError, Setting, plain
from mtpfix.engines.sglang.methods.modelopt.selection import layers
from mtpfix.engines.sglang.methods.records import ClassRow
from mtpfix.engines.sglang.methods.shared.classes import chosen, made
from mtpfix.engines.sglang.methods.shared.rules import rules
from mtpfix.engines.sglang.methods.shared.wildcards import Excluded
from mtpfix.model import Decision, Entry, Module, QuantView

_DIFFER = (
    "ValueError: Mixed quant_algo within fused layer {name}: {algos}. "
    "All shards must use the same quantization."
)
_INNER, _OUTER, _MODEL = "language_model.model.", "model.language_model.", "model."


class Layer(NamedTuple):
    """One key of `quantized_layers`, and its algorithm."""

    entry: Entry
    algo: str


def decider(setting: Setting, excluded: Excluded, rows: Sequence[ClassRow]) -> Decide:
    """Return the decisions of one release for one part."""
    release = setting.context.release
    found = Algorithms(setting.view, setting.packed, release)
    asks = {
        "lm_head": rules("modelopt_heads", release),
        "embedding": rules("mixed_embeddings", release),
    }
    built = rules("mixed_algorithms", release)
    of_experts = rules("mixed_experts_algorithms", release)

    def decide(module: Module) -> Decision:
        layer = found.of(module.name)
        if not asks.get(module.kind, True):
            return plain(module)
        entry = excluded.about(module, setting.packed)
        if entry is not None:
            return plain(module, entry)
        known = of_experts if module.kind == "experts" else built
        if layer is None or layer.algo not in known:
            return plain(module)
        row = chosen(rows, module.kind, layer.algo, setting.context)
        return made(module, row, entry=layer.entry)

    return decide


class Algorithms:
    """The algorithms of one release for one part: by name, and the first below each name.

    Args:
        view: the metadata, its names as the mappers left them.
        packed: the packed-modules mapping.
        release: the release.
    """

    def __init__(self, view: QuantView, packed: Packed, release: str) -> None:
        said = layers(view.raw)
        self._packed = packed
        self._wrappers: bool = rules("mixed_wrappers", release)
        self._text_model: bool = rules("mixed_text_model", release)
        self._layers: dict[str, Layer] = {}
        self._below: dict[str, Layer] = {}
        for entry in (entry for group in view.groups for entry in group.targets):
            layer = Layer(entry, str(said[entry.spelling]["quant_algo"]).upper())
            self._layers[entry.text] = layer
        for name, layer in self._layers.items():
            for above in (name[:at] for at, letter in enumerate(name) if letter == "."):
                self._below.setdefault(above, layer)

    def of(self, name: str) -> Layer | None:
        """Return the key that gives `name` its algorithm, or None.

        Raises:
            RaisesError: the shards of a fused layer have several.
        """
        return (
            next(self._find(self._layers, name), None)
            or self._of_shards(name)
            or next(self._find(self._below, name), None)
        )

    def _find(self, among: Mapping[str, Layer], name: str) -> Iterator[Layer]:
        return (among[spelled] for spelled in self._spellings(name) if spelled in among)

    def _of_shards(self, name: str) -> Layer | None:
        base, _, last = name.rpartition(".")
        names = (
            f"{spelled}.{shard}"
            for spelled in self._spellings(base or name)
            for shard in self._packed.get(last, ())
        )
        found = {self._layers[n].algo: self._layers[n] for n in names if n in self._layers}
        if len(found) > 1:
            algos = f"{{{', '.join(map(repr, sorted(found)))}}}"  # a set, whose order varies
            error = _DIFFER.format(name=name, algos=algos)
            raise RaisesError(error, next(iter(found.values())).entry)
        return next(iter(found.values()), None)

    def _spellings(self, name: str) -> Iterator[str]:
        """Yield the names that a key may have for `name`: also those of other wrappers."""
        yield name
        if not self._wrappers:
            return
        if name.endswith(".lm_head"):
            yield "lm_head"
        if name.startswith(_INNER):
            yield _OUTER + name.removeprefix(_INNER)
        elif name.startswith(_OUTER):
            yield _INNER + name.removeprefix(_OUTER)
            if self._text_model:
                yield _MODEL + name.removeprefix(_OUTER)
        elif self._text_model and name.startswith(_MODEL):
            yield _OUTER + name.removeprefix(_MODEL)
