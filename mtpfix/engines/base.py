"""The interface of an engine: all that analysis, rules, repair, reports and commands know of one.

An engine reads the files of a checkpoint (`Engine.read`), and makes of it one `EngineCase` for
each release and platform: what it builds there, module by module, and why. Which files it reads,
where it looks for quantization metadata, how it compares an entry with a name: all of that is the
engine's own knowledge and stays in its package. `registry.py` names the engines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from mtpfix.checkpoint.inventory import Inventory
from mtpfix.engines.opening import Analyzable, Family, Reading
from mtpfix.errors import UnknownError
from mtpfix.model import (
    Decision,
    EngineReport,
    Entry,
    Grade,
    Json,
    JsonFile,
    Listing,
    Module,
    ModuleReport,
    Outcome,
    Part,
    Plain,
    Platform,
    QuantView,
    State,
    Stray,
    TargetStray,
)
from mtpfix.patterns import Listed, PatternError
from mtpfix.quant.recipes import Recipe
from mtpfix.quant.spelling import NAMES, Spelling

if TYPE_CHECKING:
    from mtpfix.engines.coverage import Covered, Dialect
    from mtpfix.engines.verification import Verification

# --- one release on one platform -------------------------------------------------


@dataclass(frozen=True, slots=True)
class MissingKey:
    """A key of the metadata that a model class reads unasked, and that is not there.

    Attributes:
        key: the key. error: what the engine raises, `Type: message`.
        good_from: the first release that does without; None: none does.
        grade: the evidence. remedy: what the user can do.
    """

    key: str
    error: str
    good_from: str | None
    grade: Grade
    remedy: str


@dataclass(frozen=True, slots=True)
class UndeclaredBlock:
    """What a target model makes of an MTP block on disk where no MTP layer is declared.

    Attributes:
        error: the exception that ends its load; None: its loader drops the tensors.
        grade: the evidence.
    """

    error: str | None
    grade: Grade


@dataclass(frozen=True, slots=True)
class HeaderList:
    """The list that an engine reads in tensor headers, where the metadata has none.

    Attributes:
        lists: whether it names what is quantized, or what is not.
        key: the key of the metadata that states the same, and switches the reading off.
    """

    lists: Literal["quantized", "unquantized"]
    key: str


@dataclass(frozen=True, slots=True)
class DraftFlags:
    """How an engine is told of a draft folder.

    Attributes:
        always: what is added to its command line.
        asked: the option by which a user names a quantization method.
        then: what is added where that is given, and the folder has no metadata.
    """

    always: str
    asked: str
    then: str


class EngineCase(ABC):
    """One checkpoint seen by one release of an engine on one platform.

    Facts about the checkpoint are computed once a case (`cached_property`); what depends on
    metadata takes the `QuantView` to be judged, since a repair tries many of them.
    """

    view: QuantView
    """The metadata as the files spell it."""
    inventory: Inventory
    """The target's tensors by module."""

    # --- what is known before anything is judged -----------------------------------------

    @property
    @abstractmethod
    def engine(self) -> Engine:
        """The engine."""

    @property
    @abstractmethod
    def release(self) -> str:
        """Its release."""

    @property
    @abstractmethod
    def platform(self) -> Platform:
        """The platform that it builds for."""

    @property
    @abstractmethod
    def family(self) -> str:
        """Name of the model family."""

    @property
    @abstractmethod
    def method(self) -> str:
        """The quantization method that is in force; empty: there is no metadata."""

    @property
    @abstractmethod
    def layers(self) -> int:
        """Layers of the target model that `config.json` declares."""

    @property
    @abstractmethod
    def mtp_layers(self) -> int:
        """MTP layers that `config.json` declares."""

    @property
    @abstractmethod
    def disk_roots(self) -> tuple[str, ...]:
        """Beginnings of the names of MTP tensors on disk, each with the dot at its end."""

    @property
    @abstractmethod
    def draft(self) -> tuple[Module, ...]:
        """Modules of the draft, in construction order."""

    @property
    @abstractmethod
    def trunk(self) -> tuple[Module, ...]:
        """Modules of the target model, in construction order."""

    @property
    def draft_roots(self) -> tuple[str, ...]:
        """Beginnings of names, each with a dot at its end, that this engine gives to MTP modules.

        Only those that neither a layer's number nor a word of the MTP block's own tells from other
        models' names, such as `model.decoder.`: entries may begin so then, as long as no module of
        the target model does.
        """
        return ()

    @property
    def grade(self) -> Grade:
        """The evidence for what is said of this release and platform."""
        return "run"

    @property
    def draft_class(self) -> str | None:
        """The class of the draft model."""
        return None

    @property
    def strays(self) -> tuple[Stray, ...]:
        """Tensors of the MTP block that no parameter takes."""
        return ()

    @property
    def target_strays(self) -> tuple[TargetStray, ...]:
        """Tensors of the target model that no module of it takes, as far as that is known."""
        return ()

    @property
    def unfilled(self) -> tuple[Plain, ...]:
        """Parameters of the draft outside its modules that no tensor fills."""
        return ()

    @property
    def absence_error(self) -> str | None:
        """What is raised for a draft layer without tensors; None: it stays uninitialised."""
        return None

    @property
    def undeclared_block(self) -> UndeclaredBlock | None:
        """What the target model makes of an MTP block that is not declared; None: unknown."""
        return None

    @property
    def reads_its_own(self) -> bool:
        """Whether the draft goes by the metadata of its own checkpoint, not the target's."""
        return False

    @property
    def speculation(self) -> str:
        """What the engine calls the method of the draft where speculation is configured."""
        return "mtp"

    @property
    def serving(self) -> tuple[str, ...]:
        """How to serve a draft that is not MTP, in sentences; none where it is."""
        return ()

    @property
    def comparison(self) -> str:
        """How entries are compared with names, as the beginning of a sentence."""
        return "entries are compared with whole names"

    @property
    def spelling(self) -> Spelling:
        """How entries are written, so that this engine reads them."""
        return NAMES

    @property
    def is_newer(self) -> bool:
        """Whether the release is newer than all that is known."""
        return self.engine.is_newer(self.release)

    def disk(self, part: Part) -> Inventory:  # noqa: ARG002 - one checkpoint holds both
        """Return the tensors that `part` is loaded from."""
        return self.inventory

    def alone(self) -> EngineCase:
        """Return the case of a folder that the draft alone is loaded from.

        No list in it reaches the target model: see `Engine.takes_draft_folder`.

        Raises:
            UnknownError: the engine takes no such folder.
        """
        raise UnknownError(f"{self.engine.title} takes no draft folder", "see `mtpfix rewrite`")

    # --- decisions ---------------------------------------------------------------

    def under(self, view: QuantView) -> EngineCase:  # noqa: ARG002
        """Return the case where the metadata are `view`: they may be of another method."""
        return self

    @abstractmethod
    def decide(self, view: QuantView, modules: Sequence[Module]) -> Iterable[Decision]:
        """Return what is built for `modules` under `view`, and why, in the order given."""

    def judged(self, view: QuantView, modules: Sequence[Module]) -> tuple[ModuleReport, ...]:
        """Return `decide` set against the disk: what is not stored as it is built cannot load."""
        return tuple(map(self._compared, self.decide(view, modules)))

    def _compared(self, decision: Decision) -> ModuleReport:
        stored = self.disk(decision.module.part).stored(decision.module)
        disk, members = stored.precision, stored.members
        if disk.state is State.MISSING or decision.built == "unknown":
            return ModuleReport(decision, disk, members, None)
        agrees = decision.built == disk.state.value
        return ModuleReport(decision, disk, members, agrees, None if agrees else "load_error")

    def report(self, view: QuantView) -> EngineReport:
        """Return the verdict under `view`, with every module of draft and target model."""
        modules = (*self.part(view, "draft"), *self.part(view, "trunk"))
        outcomes: Iterable[Outcome | None] = (
            None if self.mtp_layers else "no_mtp",
            "unknown" if any(m.decision.built == "unknown" for m in modules) else None,
            *(m.consequence for m in modules),
            "clean",
        )
        outcome = next(found for found in outcomes if found is not None)
        return EngineReport(self.engine.name, self.release, self.platform, outcome, modules)

    def part(self, view: QuantView, part: Part) -> tuple[ModuleReport, ...]:
        """Return `judged` for all modules of a part; kept for the case's own view and the last."""
        key = part, view is self.view
        if key not in self._parts or self._parts[key][0] is not view:
            modules = self.draft if part == "draft" else self.trunk
            self._parts[key] = view, self.judged(view, modules)
        return self._parts[key][1]

    @cached_property
    def _parts(self) -> dict[tuple[Part, bool], tuple[QuantView, tuple[ModuleReport, ...]]]:
        return {}

    def fingerprint(self, view: QuantView) -> Hashable:  # noqa: ARG002 - by default all differ
        """Return what the verdict rests on: cases that share it are judged once.

        It may grow while cases are judged: see `engines.alike`.
        """
        return self.engine.name, self.release, self.platform

    # --- names and entries ---------------------------------------------------------

    def asked(self, module: Module) -> tuple[str, ...]:
        """Return every name that is compared with entries in order to decide about `module`."""
        return (module.name,) if module.asks else ()

    @cached_property
    def trunk_asked(self) -> tuple[tuple[str, ...], ...]:
        """Return `asked` for each module of the target model."""
        return tuple(map(self.asked, self.trunk))

    @abstractmethod
    def listed(self, view: QuantView, entries: Iterable[Entry]) -> Listed:
        """Return entries as this release compares them with names.

        Raises:
            PatternError: one of them is no valid pattern.
        """

    def valid(self, view: QuantView, entries: Iterable[Entry]) -> Listed:
        """Return `listed` without the entries that are no valid patterns."""
        good = []
        for entry in entries:
            try:
                self.listed(view, [entry])
            except PatternError:
                continue
            good.append(entry)
        return self.listed(view, good)

    def is_name(self, view: QuantView, entry: Entry) -> bool:  # noqa: ARG002
        """Return whether an entry can only fit the name that is spelled like it."""
        return False

    def in_force(self, view: QuantView, part: Part) -> QuantView:  # noqa: ARG002
        """Return the view with its entries as they are while `part` is built."""
        return view

    # --- metadata that is not there --------------------------------------------------

    def missing_key(self, view: QuantView) -> MissingKey | None:  # noqa: ARG002
        """Return the first key that is read unasked and is not there, or None."""
        return None

    def header_entries(self, view: QuantView) -> Iterable[Entry]:  # noqa: ARG002
        """Return the list that is read in tensor headers, where `Engine.header_list` is one."""
        return ()


# --- the engine ------------------------------------------------------------------


class Engine(ABC):
    """One engine: its releases, and how it reads a checkpoint."""

    name: str
    """As reports and requirements spell it: `vllm`."""
    title: str
    """As people spell it: `vLLM`."""
    releases: tuple[str, ...]
    """The releases that are known, oldest first, as `depth` tells them apart."""
    depth: int = 2
    """How many numbers of a version tell releases apart: of vLLM two, 0.32.1 is as 0.32.0."""
    metadata_pointers: tuple[str, ...] = ("/quantization_config",)
    """Where it looks for quantization metadata in `config.json`, first things first."""
    mtp_keys: tuple[str, ...] = ()
    """Fields of `config.json` that declare MTP layers, in whatever family."""
    takes_draft_folder: bool = False
    """Whether the draft may lie in a folder of its own, by whose metadata alone it is built."""

    # --- a checkpoint ----------------------------------------------------------------

    @abstractmethod
    def read(
        self, found: Listing, config: Mapping[str, Json], *, own_draft: bool = True
    ) -> Reading:
        """Return what the engine reads in the files of a checkpoint.

        Args:
            found: the metadata files and the names of all tensors.
            config: the parsed `config.json`.
            own_draft: whether the MTP block is loaded from this checkpoint.

        Raises:
            BrokenFileError: metadata is malformed.
        """

    @abstractmethod
    def metadata(self, configs: Mapping[str, JsonFile]) -> QuantView | None:
        """Return the quantization metadata that the engine finds; None: there is none.

        Raises:
            UnknownError: it is of a method that is not covered.
            BrokenFileError: it is malformed.
        """

    @abstractmethod
    def cases(
        self,
        subject: Analyzable,
        releases: Sequence[str],
        platforms: Sequence[Platform],
        *,
        by_names: bool = False,
    ) -> tuple[EngineCase, ...]:
        """Return one case for each release and platform that has the family, oldest first.

        Args:
            subject: the target.
            releases: covered releases, or newer ones.
            platforms: the platforms.
            by_names: whether names of tensors are all that is asked of the cases.

        Raises:
            UnknownError: none of them has the family, the configuration does not fit what is
                known of it, or a draft from elsewhere is built otherwise than the target's.
        """

    def header_list(self, view: QuantView) -> HeaderList | None:  # noqa: ARG002
        """Return what is read in tensor headers under this metadata; None: nothing is."""
        return None

    def overriding(self, view: QuantView) -> Mapping[str, Json] | None:
        """Return what says the same as `view` at serve time; None: a file is read all the same."""
        return view.raw if view.file == "config.json" else None

    def method_error(self, method: str, release: str) -> str | None:  # noqa: ARG002
        """Return what a release raises that has no quantization method of this name, or None."""
        return None

    def absent_file_error(self, release: str) -> str | None:  # noqa: ARG002
        """Return what a release raises where an index names a file that is not there, or None."""
        return None

    def reads_alike(self, method: str, other: str) -> bool:
        """Return whether the metadata of both methods is read in one way."""
        return method == other

    def draft_flags(self, folder: str, family: Family) -> DraftFlags:
        """Return how the engine is told of a draft folder; see `takes_draft_folder`.

        Args:
            folder: its path.
            family: what the engine knows of the family.

        Raises:
            UnknownError: the engine takes no such folder.
        """
        del folder, family
        raise UnknownError(f"{self.title} takes no draft folder", "see `mtpfix rewrite`")

    def environment(self, cases: Sequence[EngineCase]) -> Mapping[str, str]:  # noqa: ARG002
        """Return variables that repair all of these cases without a file; empty: none do."""
        return {}

    def unquantized_note(self, files: Iterable[str]) -> str | None:  # noqa: ARG002
        """Return what is worth knowing where only other metadata files are there, or None."""
        return None

    # --- before calibrating ------------------------------------------------------------

    def imagined(
        self,
        config: Mapping[str, Json],
        releases: Sequence[str],
        platforms: Sequence[Platform],
        recipe: Recipe,
    ) -> tuple[EngineCase, ...]:
        """Return the cases of a checkpoint that does not exist yet, by its `config.json` alone.

        All but the MTP block is taken as quantized.

        Args:
            config: what is to stand in `config.json`.
            releases: releases of the engine.
            platforms: platforms that it builds for.
            recipe: what a recipe leaves behind.

        Raises:
            UnknownError: the family, a release or the method is not covered.
        """
        del config, releases, platforms, recipe
        raise UnknownError(f"mtpfix cannot name modules for {self.title}", "choose another engine")

    # --- releases ------------------------------------------------------------------------

    def is_newer(self, release: str) -> bool:
        """Return whether a release is newer than all that is known."""
        from mtpfix.engines.releases import is_newer  # noqa: PLC0415 - packaging is slow

        return is_newer(release, self.releases, self.depth)

    # --- what is covered, and the installed engine -----------------------------------------

    def coverage(self) -> tuple[Covered, ...]:
        """Return every family that is known, with its evidence."""
        return ()

    def dialects(self) -> tuple[Dialect, ...]:
        """Return every quantization method that is judged, with its evidence."""
        return ()

    def verify(self, subject: Analyzable, *, python: str | None, timeout: float) -> Verification:
        """Ask the installed engine itself what it builds.

        Raises:
            UnknownError: it is not there, died, or cannot be asked.
        """
        del subject, python, timeout
        raise UnknownError(f"mtpfix cannot ask an installed {self.title}", "see `mtpfix families`")
