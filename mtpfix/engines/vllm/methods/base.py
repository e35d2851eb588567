"""What every quantization method of vLLM is asked, and answers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mtpfix.engines.vllm.policy import Context
from mtpfix.model import Decision, Entry, Module, Part, QuantView
from mtpfix.patterns import Listed

Packed = Mapping[str, Sequence[str]]
"""Fused name -> names of its shards, as the engine has it in force."""

Decide = Callable[[Module], Decision]
"""Says what is built for one module, or raises one of the errors below."""


class RaisesError(Exception):
    """The engine raises while it decides about a module."""

    def __init__(self, message: str, entry: Entry | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.entry = entry


class HalvedError(RaisesError):
    """Entries exempt some members of a module that is built as one, and others not."""


class ShardsDifferError(HalvedError):
    """Some shards of a fused layer match and others do not."""


INVALID = "ValidationError: 1 validation error for VllmConfig…Value error, "
"""What a ValueError of a method begins with that is raised while `VllmConfig` is validated."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is in force while one part of a checkpoint is built.

    Attributes:
        view: the metadata, its entries as the engine's name mappers left them.
        context: release, platform and configuration.
        part: target (trunk) or draft.
        packed: the packed-modules mapping.
    """

    view: QuantView
    context: Context
    part: Part
    packed: Packed


class Method(Protocol):
    """One quantization method: a module of this package that has these names."""

    def decider(self, setting: Setting) -> Decide:
        """The decisions of one release for one part.

        Raises:
            RaisesError, PatternError: the engine refuses the metadata as a whole.
        """

    COMPARES: str
    """How entries are compared with names, as the beginning of a sentence."""

    def exact(self, entry: Entry) -> bool:
        """Whether the entry can only fit the name that is spelled like it."""

    def listed(self, entries: Iterable[Entry], release: str) -> Listed:
        """Entries, as this method compares them with names.

        Raises:
            PatternError: one of them is no valid pattern.
        """

    def probes(self, module: Module) -> tuple[str, ...]:
        """The names that are compared in the place of routed experts."""

    def renamed(self, entries: Iterable[Entry], rename: Rename) -> tuple[Entry, ...]:
        """The entries after a name mapper has run over those that this method lets it see."""

    def traits(self, view: QuantView, context: Context) -> Hashable:
        """What decisions rest on besides the entries: alike where platforms decide alike."""


Rename = Callable[[Entry], Entry]
"""A name mapper of the engine."""


def plain(module: Module, entry: Entry | None = None) -> Decision:
    """The decision to build a module unquantized."""
    return Decision(module, "unquantized", expects="unquantized", because=entry)


# --- answers that several methods give -----------------------------------------


def own_name(module: Module) -> tuple[str, ...]:
    """`probes`, where routed experts are compared by their own name, if at all."""
    return (module.name,)


def mapped(entries: Iterable[Entry], rename: Rename) -> tuple[Entry, ...]:
    """`renamed`, where mappers see every entry, patterns too."""
    return tuple(map(rename, entries))


def unmapped(entries: Iterable[Entry], rename: Rename) -> tuple[Entry, ...]:
    """`renamed`, where no mapper sees them."""
    return tuple(entries)


def alike(view: QuantView, context: Context) -> Hashable:
    """`traits`, where platforms decide alike."""
    return ()
