"""What every quantization method of an engine is asked, and answers. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mtpfix.engines.policies.context import Context
from mtpfix.model import Decision, Entry, Json, JsonFile, Module, Part, QuantView
from mtpfix.patterns import Listed
from mtpfix.quant import Location, lists
from mtpfix.quant.beside import twins
from mtpfix.quant.spelling import NAMES, Spelling

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


Rename = Callable[[Entry], Entry]
"""A name mapper of the engine."""


def plain(module: Module, entry: Entry | None = None) -> Decision:
    """The decision to build a module unquantized."""
    return Decision(module, "unquantized", expects="unquantized", because=entry)


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """One quantization method of an engine: how its metadata is read, and what is built under it.

    What differs in values is said where a method is made; a subclass overrides the rest.

    Attributes:
        name: the name that judgement and data have for it.
        compares: how entries are compared with names, as the beginning of a sentence.
        aliases: other values of `quant_method` that select it.
        dialect: the method whose metadata is read alike; empty: none but this one.
        key: the key of the list that exempts modules.
        format: the format on disk of what no entry exempts; None: the metadata does not say.
        twin_files: files beside `config.json` that say the same.
        spelling: how entries are written.
    """

    name: str
    compares: str
    aliases: tuple[str, ...] = ()
    dialect: str = ""
    key: str = "modules_to_not_convert"
    format: str | None = None
    twin_files: tuple[str, ...] = ()
    spelling: Spelling = NAMES

    # --- what the metadata says ---

    def read(self, location: Location) -> QuantView:
        """Return what metadata says.

        Raises:
            BrokenFileError: a part has another type than the format allows.
        """
        return lists.view(location, self.name, self.key, format=self.format)

    def with_twins(self, view: QuantView, configs: Mapping[str, JsonFile]) -> QuantView:
        """Return the metadata with what other files say of the same.

        Raises:
            BrokenFileError: a part of them has another type than the format allows.
        """
        return replace(view, twins=twins(view, configs, self.twin_files))

    def overriding(self, view: QuantView) -> Mapping[str, Json] | None:
        """Return the `quantization_config` that hides another file; None: none does."""
        return None

    # --- what the engine builds ---

    def decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part.

        Raises:
            RaisesError, PatternError: the engine refuses the metadata as a whole.
        """
        refused = self.refusal(setting.view, setting.context)
        if refused is not None:
            raise RaisesError(refused)
        return self.make_decider(setting)

    def refusal(self, view: QuantView, context: Context) -> str | None:
        """Return what is raised while the metadata is read, `Type: message`; None: nothing."""
        return None

    @abstractmethod
    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions under metadata that the engine does not refuse.

        Raises:
            PatternError: a list has too many patterns, or one that is none.
        """

    def traits(self, view: QuantView, context: Context) -> Hashable:
        """Return what decisions rest on besides entries: alike where platforms decide alike."""
        return ()

    # --- how entries are compared with names ---

    @abstractmethod
    def listed(self, entries: Iterable[Entry], release: str) -> Listed:
        """Return entries, as this method compares them with names.

        Raises:
            PatternError: one of them is no valid pattern.
        """

    def exact(self, entry: Entry) -> bool:
        """Return whether the entry can only fit the name that is spelled like it."""
        return False

    def probes(self, module: Module) -> tuple[str, ...]:
        """Return the names that are compared in the place of routed experts."""
        return (module.name,)

    def renamed(self, entries: Iterable[Entry], rename: Rename) -> tuple[Entry, ...]:
        """Return the entries after a name mapper has run over those that it sees."""
        return tuple(map(rename, entries))


class UnmappedMethod(Method):
    """A method whose entries no name mapper sees."""

    def renamed(self, entries: Iterable[Entry], rename: Rename) -> tuple[Entry, ...]:
        """Return the entries as they are."""
        return tuple(entries)
