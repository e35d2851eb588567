"""What a repair may do, and what it does: the records. `planner.py` makes them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mtpfix.model import Edit, QuantView
from mtpfix.repair.verdicts import Views


@dataclass(frozen=True, slots=True)
class Options:
    """What the user allows.

    Attributes:
        engine_names_only: leave out entries in the checkpoint's own spelling.
        repair_trunk: also write entries for unquantized modules of the trunk, narrow entries that
            take the scheme from quantized ones, and add targets that they lack; these modules then
            move from wrong to right.
        chosen_releases: the user chose the releases. Only then may an entry be written
            that fits the empty name alone (`re:^$`), for a release that asks by it.
        rename_tensors: also give scales of the MTP block other names, in new weight files that take
            the place of those that hold nothing but the block.
        rename_in_place: the same by an edit of the headers of weight files, whatever they hold.
    """

    engine_names_only: bool = False
    repair_trunk: bool = False
    chosen_releases: bool = False
    rename_tensors: bool = False
    rename_in_place: bool = False

    @property
    def renames(self) -> bool:
        """Whether tensors may get other names, in whichever way."""
        return self.rename_tensors or self.rename_in_place


@dataclass(frozen=True, slots=True)
class Advice:
    """What helps where a module stays wrong.

    Attributes:
        newer: the engine's title and the first release that is right, as all later ones are, with
            the platforms where these are not all; or empty.
        option: the option that plans for the release alone, where that helps; or empty.
        otherwise: what else helps, where nothing of this does; or empty.
    """

    newer: str = ""
    option: str = ""
    otherwise: str = ""

    @property
    def text(self) -> str | None:
        """All of it in words, or None where nothing helps."""
        ways = (
            f"serve with {self.newer}" if self.newer else "",
            f"choose the release with `{self.option}`" if self.option else "",
        )
        return ", or ".join(filter(None, ways)) or self.otherwise or None


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A module that stays wrong under the best plan."""

    module: str
    releases: tuple[str, ...]
    reason: str
    engine: str = ""
    """Name of the engine whose releases these are."""
    advice: Advice = Advice()
    """What the user can do about it, where that is known."""

    @property
    def remedy(self) -> str | None:
        """The advice in words, or None."""
        return self.advice.text


@dataclass(frozen=True, slots=True)
class Plan:
    """Edits of the metadata, and what is left.

    Attributes:
        view: the metadata as it would be read after the edits.
        edits: what to change in the files; empty when nothing can or need be changed.
        added: new entries. removed: entries that go.
        unresolved: modules that no entry can fix, with the reason.
        refused: why no edit is offered although something is wrong, or None.
        headers: new entries that say what the engine read in tensor headers before.
        defaults: new entries that say what another reader did as long as there was no list.
        by_disk: new entries that fit names of the MTP block on disk.
        nameless: new entries that fit the empty name and no other.
        target: new entry -> how many modules of the target model it is written for.
        schemes: those that modules are given, in words; the edits that say so come first.
        metadata_copied: whether the metadata get a copy in the text configuration, where a draft
            reads them.
        views: the metadata after the edits, as each engine that it is planned for reads them.
        needed_by: new entry -> titles of the engines that need it; empty where one is planned for.
    """

    view: QuantView
    edits: tuple[Edit, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unresolved: tuple[Unresolved, ...] = ()
    refused: str | None = None
    headers: tuple[str, ...] = ()
    defaults: tuple[str, ...] = ()
    by_disk: frozenset[str] = frozenset()
    nameless: frozenset[str] = frozenset()
    target: Mapping[str, int] = field(default_factory=dict)
    schemes: tuple[str, ...] = ()
    metadata_copied: bool = False
    views: Views = field(default_factory=dict)
    needed_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def nothing() -> Plan:
    """The plan for a target without quantization metadata."""
    return Plan(QuantView("", "config.json", "", (), "", (), None))
