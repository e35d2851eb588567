"""What is on disk for a module that an engine builds. Pure.

Tensors are grouped by their module once; a fused module is the combination of
its members, routed experts that of all experts, whether they are stored one by
one or stacked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from mtpfix.checkpoint.precision import MISSING, combine, precision, split_name
from mtpfix.model import Checkpoint, Module, Precision, Tensor

_FLOATS = frozenset({"BF16", "F16", "F32"})
"""Dtypes of tensors that are not quantized."""
_INTEGERS = frozenset({"qweight", "qzeros", "g_idx"})


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
        self._tensors: dict[str, list[tuple[str, str]]] = {}
        self._known: dict[tuple[tuple[str, ...], int], tuple[tuple[str, ...], Precision]] = {}
        for name in checkpoint.listing.shards:
            module, suffix = split_name(name)
            self._tensors.setdefault(module, []).append((suffix, name))

    def __contains__(self, module: str) -> bool:
        return module in self._tensors

    def modules(self) -> Iterable[str]:
        """Names of all modules that hold at least one tensor."""
        return self._tensors.keys()

    def tensors(self, module: str) -> Mapping[str, Tensor | None]:
        """Suffix -> header entry of one module on disk; empty where there is none."""
        return {
            suffix: self._checkpoint.tensor(name) for suffix, name in self._tensors.get(module, ())
        }

    def tensor_names(self, module: str) -> tuple[tuple[str, str], ...]:
        """Suffix and full name of each tensor of one module on disk."""
        return tuple(self._tensors.get(module, ()))

    @cached_property
    def parents(self) -> Mapping[str, Parent]:
        """What names of tensors have before their last part, in the order of the listing.

        A tensor whose header was not read is known by its name.
        """
        found: dict[str, Parent] = {}
        for name in self._checkpoint.listing.shards:
            parent, _, last = name.rpartition(".")
            before = found.get(parent or name, Parent(plain=True, matrix=False))
            tensor = self._checkpoint.tensor(name)
            plain = last not in _INTEGERS if tensor is None else tensor.dtype in _FLOATS
            matrix = last == "weight" if tensor is None else len(tensor.shape) > 1
            found[parent or name] = Parent(before.plain and plain, before.matrix or matrix)
        return found

    def load_order(self, name: str) -> tuple[tuple[object, ...], str]:
        """Key that sorts tensors as engines load them: by shard, numbers by value, then by name."""
        shard = self._checkpoint.listing.shards.get(name, "")
        parts = re.split(r"([0-9]+)", shard)
        return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), name

    def members(self, module: Module) -> tuple[str, ...]:
        """The modules on disk that are loaded into `module`, expert numbers written out."""
        return self._stored(module)[0]

    def of(self, module: Module) -> Precision:
        """How `module` is stored: one precision for all its members."""
        return self._stored(module)[1]

    def _stored(self, module: Module) -> tuple[tuple[str, ...], Precision]:
        """Members and precision; many releases ask about the same module."""
        key = ((*module.members, *module.stacked), module.experts)
        if key not in self._known:
            members = tuple(name for name in written_out(module) if name in self._tensors)
            self._known[key] = members, combine(self.one(name) for name in members)
        return self._known[key]

    def one(self, name: str) -> Precision:
        """How a single module on disk is stored."""
        return precision(self.tensors(name)) if name in self._tensors else MISSING


def written_out(module: Module) -> Iterator[str]:
    """Every name on disk that `module` may be stored under."""
    for member in module.members:
        if "*" in member:
            yield from (member.replace("*", str(e), 1) for e in range(module.experts))
        else:
            yield member
    yield from module.stacked


def without_expert(name: str) -> str:
    """`name` with the number of an expert replaced by `*`: `experts.3.w1` -> `experts.*.w1`."""
    return re.sub(r"(?<=experts)\.\d+(?=\.)", ".*", name, count=1)
