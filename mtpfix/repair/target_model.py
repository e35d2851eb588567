"""The target model as readers of a checkpoint meet it: its modules by their names on disk. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from mtpfix.checkpoint.inventory import Inventory
from mtpfix.engines.base import EngineCase
from mtpfix.model import State


class TargetModel:
    """What is on disk outside the MTP block.

    Args:
        cases: one checkpoint under several releases.
    """

    def __init__(self, cases: Sequence[EngineCase]) -> None:
        self._cases = cases
        self._disk: Inventory = cases[0].disk("trunk")

    def modules(self) -> Iterator[str]:
        """Return the names that readers ask about.

        Where experts are stored one by one, the module that holds them all is asked about too:
        transformers builds one in their place.
        """
        roots = tuple(root for case in self._cases for root in case.disk_roots)
        for name in self._disk.modules():
            if f"{name}.".startswith(roots):
                continue
            yield name
            head, found, _ = name.partition(".experts.")
            if found:
                yield f"{head}.experts"

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """The output heads that are stored unquantized."""
        trunk = (module for case in self._cases for module in case.trunk)
        heads = (name for module in trunk if module.kind == "lm_head" for name in module.members)
        return tuple(name for name in dict.fromkeys(heads) if self.is_plain(name))

    def is_plain(self, name: str) -> bool:
        """Whether a module is stored unquantized."""
        return self._disk.one(name).state is State.UNQUANTIZED

    def is_quantizable(self, name: str) -> bool:
        """Whether a module may be one that readers quantize: norms and bare parameters are none.

        A tensor whose header was not read is known by its name alone.
        """
        tensors = self._disk.tensors(name)
        if any(tensor is None for tensor in tensors.values()):
            return not name.endswith("norm")
        matrix = any(tensor is not None and len(tensor.shape) > 1 for tensor in tensors.values())
        return matrix or not tensors or not self.is_plain(name)
