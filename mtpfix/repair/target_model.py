"""The target model as readers of a checkpoint meet it: its modules by their names on disk. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from mtpfix.checkpoint.inventory import Inventory
from mtpfix.engines.base import EngineCase
from mtpfix.model import State
from mtpfix.repair.readers import Listed, Readings, Treated


class TargetModel:
    """What is on disk outside the MTP block.

    Args:
        cases: one checkpoint under several releases.
        method: the quantization method that the readers of its metadata go by.
    """

    def __init__(self, cases: Sequence[EngineCase], method: str) -> None:
        self._cases = cases
        self._method = method
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
            if (holder := _holder(name)) is not None:
                yield holder

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """The output heads that are stored unquantized."""
        trunk = (module for case in self._cases for module in case.trunk)
        heads = (name for module in trunk if module.kind == "lm_head" for name in module.members)
        return tuple(name for name in dict.fromkeys(heads) if self.is_plain(name))

    @cached_property
    def quantized(self) -> tuple[str, ...]:
        """The modules that are stored quantized, in part at least."""
        return tuple(name for name in dict.fromkeys(self.modules()) if not self.is_plain(name))

    def is_plain(self, name: str) -> bool:
        """Whether a module is stored unquantized; what holds experts: whether all of them are."""
        return self._held[name] if name in self._held else self._is_plain(name)

    def _is_plain(self, name: str) -> bool:
        return self._disk.one(name).state is State.UNQUANTIZED

    @cached_property
    def _held(self) -> dict[str, bool]:
        """What holds experts that are stored one by one: whether all of them are unquantized."""
        held: dict[str, bool] = {}
        for name in self._disk.modules():
            if (holder := _holder(name)) is not None:
                held[holder] = self._is_plain(name) and held.get(holder, True)
        return held

    def is_quantizable(self, name: str) -> bool:
        """Whether a module may be one that readers quantize: norms and bare parameters are none.

        A tensor whose header was not read is known by its name alone.
        """
        tensors = self._disk.tensors(name)
        if any(tensor is None for tensor in tensors.values()):
            return not name.endswith("norm")
        matrix = any(tensor is not None and len(tensor.shape) > 1 for tensor in tensors.values())
        return matrix or not tensors or not self.is_plain(name)

    # --- what becomes of it ----------------------------------------------------

    @cached_property
    def _readings(self) -> Readings:
        return Readings(self._method, self.modules(), self.heads)

    @property
    def kept_heads(self) -> tuple[str, ...]:
        """The output heads that a reader leaves unquantized as long as there is no list."""
        return self._readings.kept_heads

    def treated_otherwise(
        self, old: Listed | None, new: Listed | None, *, may_correct: bool
    ) -> Iterator[Treated]:
        """Yield the modules that another reader of the file treats otherwise under a new list.

        Args:
            old: the list as it is.
            new: the list as it would be.
            may_correct: whether what becomes right for a reader does not count.
        """
        for treated in self._readings.changed(old, new):
            right = treated.excluded == self.is_plain(treated.module)
            if self.is_quantizable(treated.module) and not (may_correct and right):
                yield treated


def _holder(name: str) -> str | None:
    """Return the module that holds an expert with others; None: it is no expert."""
    head, found, _ = name.partition(".experts.")
    return f"{head}.experts" if found else None
