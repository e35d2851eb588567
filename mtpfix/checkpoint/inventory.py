"""What is on disk for a module that an engine builds. Pure.

Tensors are grouped by their module once; a fused module is the combination of
its members, routed experts that of all experts, whether they are stored one by
one or stacked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

from mtpfix.checkpoint.packing import outputs
from mtpfix.checkpoint.precision import (
    MISSING,
    by_module,
    combine,
    joined_name,
    named_precision,
    precision,
)
from mtpfix.model import (
    Checkpoint,
    Decision,
    Grade,
    Listing,
    Module,
    ModuleReport,
    Precision,
    State,
    Target,
    Tensor,
)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a checkpoint holds for one module of an engine."""

    members: tuple[str, ...]
    """The modules on disk that are loaded into it, expert numbers written out."""
    precision: Precision
    """One precision for all of them."""
    suffixes: frozenset[frozenset[str]]
    """Suffixes of the tensors of each member; of many members that are alike, once."""


class Layer(NamedTuple):
    """A module on disk whose headers were read.

    Attributes:
        name: of the module.
        tensors: suffix -> header entry.
        inputs: of the layer, where another module of the same block tells it.
    """

    name: str
    tensors: Mapping[str, Tensor | None]
    inputs: int | None


_INTO_ATTENTION = ("q_proj", "k_proj", "v_proj", "qkv_proj", "q_a_proj", "kv_a_proj_with_mqa")
_FEEDS = {
    **dict.fromkeys(_INTO_ATTENTION, ("o_proj",)),
    **dict.fromkeys(("gate_proj", "up_proj", "gate_up_proj"), ("down_proj",)),
    **dict.fromkeys(("w1", "w3"), ("w2",)),
    "down_proj": ("gate_proj", "up_proj"),
    "w2": ("w1", "w3"),
    "q_b_proj": ("q_a_proj",),
}
"""Last words of names, and those of modules beside it that have as many outputs as it inputs."""


FLOATS = frozenset({"BF16", "F16", "F32"})
"""Dtypes of tensors that are not quantized."""
_OTHER_EXPERT = re.compile(r"\.experts\.(?!0\.)\d+\.")
_INTEGERS = frozenset({"qweight", "qzeros", "g_idx"})


Verdicts = dict[tuple[Decision, Grade], ModuleReport]
"""What decisions come to; the evidence for a module is no part of what makes two equal."""


class Parent(NamedTuple):
    """What some tensors stand below.

    Attributes:
        plain: none of them is quantized, as vLLM's scan of headers has it.
        matrix: one of them has more than one dimension.
    """

    plain: bool
    matrix: bool


class Inventory:
    """The tensors of a checkpoint by module name.

    Shards whose headers were not read contribute names only; their modules are
    judged from the names.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._known: dict[tuple[str, ...], Stored] = {}
        self._present: dict[tuple[tuple[str, ...], int], tuple[str, ...]] = {}
        self._layers: dict[tuple[str, ...], tuple[Layer, ...]] = {}
        self._below: dict[tuple[str, ...], tuple[tuple[str, ...], ...]] = {}
        self._verdicts: dict[Hashable, Verdicts] = {}

    @cached_property
    def _suffixes(self) -> Mapping[str, tuple[str, ...]]:
        """Module -> suffixes of its tensors.

        Names are kept so, and modules without a header are judged by them alone: a large
        checkpoint has 280,000 tensors, and a few dozen ways to be stored.
        """
        return by_module(self._checkpoint.listing.shards)

    @cached_property
    def _opened(self) -> Collection[str]:
        """Modules of whose tensors some header was read."""
        return by_module(chain.from_iterable(self._checkpoint.headers.values())).keys()

    def __contains__(self, module: str) -> bool:
        return module in self._suffixes

    def modules(self) -> Iterable[str]:
        """Names of all modules that hold at least one tensor."""
        return self._suffixes.keys()

    def tensors(self, module: str) -> Mapping[str, Tensor | None]:
        """Suffix -> header entry of one module on disk; empty where there is none."""
        return {suffix: self._checkpoint.tensor(name) for suffix, name in self.tensor_names(module)}

    def tensor_names(self, module: str) -> tuple[tuple[str, str], ...]:
        """Suffix and full name of each tensor of one module on disk."""
        suffixes = self._suffixes.get(module, ())
        return tuple((suffix, joined_name(module, suffix)) for suffix in suffixes)

    @cached_property
    def parents(self) -> Mapping[str, Parent]:
        """What names of tensors have before their last part, in the order of the listing.

        Of routed experts, expert 0 stands for all. A tensor whose header was not read is known
        by its name.
        """
        found: dict[str, Parent] = {}
        for name in self._checkpoint.listing.shards:
            parent, _, last = name.rpartition(".")
            if "experts." in parent and _OTHER_EXPERT.search(parent):
                continue
            before = found.get(parent or name, Parent(plain=True, matrix=False))
            tensor = self._checkpoint.tensor(name)
            plain = last not in _INTEGERS if tensor is None else tensor.dtype in FLOATS
            matrix = last == "weight" if tensor is None else len(tensor.shape) > 1
            found[parent or name] = Parent(before.plain and plain, before.matrix or matrix)
        return found

    def load_order(self, name: str) -> tuple[tuple[object, ...], str]:
        """Key that sorts tensors as engines load them: by shard, numbers by value, then by name."""
        shard = self._checkpoint.listing.shards.get(name, "")
        parts = re.split(r"([0-9]+)", shard)
        return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), name

    def stored(self, module: Module, also: Sequence[str] = ()) -> Stored:
        """What is on disk for `module`; many releases ask about the same one.

        Args:
            module: the module.
            also: modules on disk that are loaded into it by other names than its own.
        """
        key = ((*module.members, *module.stacked), module.experts)
        if key not in self._present:
            names = written_out(module)
            self._present[key] = tuple([name for name in names if name in self._suffixes])
        return self._described((*self._present[key], *also))

    def _described(self, members: tuple[str, ...]) -> Stored:
        """The tensors of some modules on disk as one."""
        if members not in self._known:
            suffixes = frozenset(frozenset(self._suffixes[name]) for name in members)
            self._known[members] = Stored(members, combine(self._ways(members)), suffixes)
        return self._known[members]

    def verdicts(self, by: Hashable) -> Verdicts:
        """Return what decisions about its modules come to, as far as any release has asked.

        Args:
            by: what a verdict rests on besides the decision and the disk.
        """
        return self._verdicts.setdefault(by, {})

    def layers(self, members: tuple[str, ...]) -> tuple[Layer, ...]:
        """Return some modules on disk whose headers were read; of those alike the first by name."""
        if members not in self._layers:
            found: dict[Hashable, Layer] = {}
            for name in sorted(name for name in members if name in self._opened):
                layer = Layer(name, self.tensors(name), self._inputs(name))
                found.setdefault(_alike(layer), layer)
            self._layers[members] = tuple(found.values())
        return self._layers[members]

    def _inputs(self, name: str) -> int | None:
        """The inputs of a module, by the outputs of what lies beside it."""
        parent, _, last = name.rpartition(".")
        beside = (f"{parent}.{other}" for other in _FEEDS.get(last, ()))
        found = (outputs(self.tensors(other)) for other in beside if other in self._opened)
        return next(found, None)

    def below(self, roots: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Modules whose names begin with one of `roots`, all experts of one kind together."""
        if roots not in self._below:
            found: dict[str, list[str]] = {}
            for name in self._suffixes:
                if f"{name}.".startswith(roots):
                    found.setdefault(without_expert(name), []).append(name)
            self._below[roots] = tuple(map(tuple, found.values()))
        return self._below[roots]

    @cached_property
    def names(self) -> Set[str]:
        """Names of all tensors."""
        return self._checkpoint.listing.shards.keys()

    def one(self, name: str) -> Precision:
        """How a single module on disk is stored."""
        return combine(self._ways([name])) if name in self._suffixes else MISSING

    def named(self, module: str) -> Precision:
        """How a single module on disk is stored, by the names of its tensors alone."""
        return named_precision(self._suffixes[module]) if module in self._suffixes else MISSING

    def _ways(self, members: Iterable[str]) -> set[Precision]:
        """How some modules on disk are stored."""
        named = {self._suffixes[name] for name in members if name not in self._opened}
        opened = (name for name in members if name in self._opened)
        return {*map(named_precision, named), *(precision(self.tensors(n)) for n in opened)}

    @cached_property
    def states(self) -> Mapping[str, frozenset[State]]:
        """All modules on disk, the numbers of experts left out, and how they are stored."""
        same: dict[str, list[str]] = {}
        for name in self._suffixes:
            same.setdefault(without_expert(name), []).append(name)
        return {
            name: frozenset(way.state for way in self._ways(names)) for name, names in same.items()
        }


def _alike(layer: Layer) -> Hashable:
    """What modules share whose tensors have the same shapes."""
    shapes = ((suffix, t and (t.dtype, t.shape)) for suffix, t in layer.tensors.items())
    return frozenset(shapes), layer.inputs


def written_out(module: Module) -> Iterator[str]:
    """Every name on disk that `module` may be stored under."""
    for member in module.members:
        head, star, tail = member.partition("*")
        if star:
            yield from [f"{head}{expert}{tail}" for expert in range(module.experts)]
        else:
            yield member
    yield from module.stacked


def without_expert(name: str) -> str:
    """`name` with the number of an expert replaced by `*`: `experts.3.w1` -> `experts.*.w1`."""
    head, found, rest = name.partition("experts.")
    number, dot, tail = rest.partition(".")
    return f"{head}{found}*.{tail}" if dot and number.isdecimal() else name


NOTHING = Inventory(Checkpoint(Listing(Target("local", ""), (), {}, {}, "none"), {}))
"""That of a checkpoint without tensors."""
