"""What an engine makes of a target before a release is chosen.

The files are read once, whoever the engine. Each engine reads its own things in them (`Reading`),
and the target is one of four to it (`Opening`), which `analysis.py` matches in one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from mtpfix.checkpoint.inventory import Inventory
from mtpfix.errors import UnknownError
from mtpfix.model import Checkpoint, Json, Listing, Platform, QuantView, Target

if TYPE_CHECKING:
    from mtpfix.engines.base import Engine, EngineCase

# --- the files, whoever reads them --------------------------------------------


@dataclass(frozen=True)
class Draft:
    """The checkpoint that the MTP block is loaded from, where that is not the target.

    Attributes:
        reading: what the engine reads in its files.
        config: its parsed `config.json`.
        checkpoint: its listing, and the headers of the shards that the block is in.
        inventory: its tensors by module.
    """

    reading: Reading
    config: Mapping[str, Json]
    checkpoint: Checkpoint
    inventory: Inventory

    @property
    def target(self) -> Target:
        """What the user named."""
        return self.checkpoint.listing.target

    @property
    def method(self) -> str:
        """The quantization method of its own metadata; empty if it has none."""
        return self.reading.method or "" if self.reading.view is None else self.reading.view.method


@dataclass(frozen=True)
class Files:
    """What was read of a target.

    Attributes:
        config: the parsed `config.json`.
        checkpoint: the listing, and the headers of the shards that matter.
        inventory: its tensors by module.
        draft: what the MTP block is loaded from; None: from the target itself.
    """

    config: Mapping[str, Json]
    checkpoint: Checkpoint
    inventory: Inventory
    draft: Draft | None = None

    @property
    def listing(self) -> Listing:
        """Files and tensor names."""
        return self.checkpoint.listing

    @property
    def block(self) -> Checkpoint:
        """The checkpoint that the MTP block is loaded from."""
        return self.checkpoint if self.draft is None else self.draft.checkpoint


# --- what an engine makes of them, before a release is chosen -------------------


class Family(Protocol):
    """What an engine knows about one model family; the rest of it is the engine's own."""

    @property
    def family(self) -> str:
        """Its name in the reports."""

    @property
    def title(self) -> str:
        """Its name for people."""

    @property
    def text(self) -> str:
        """Key of the nested text configuration; empty: its fields stand at the top."""

    @property
    def kin(self) -> str:
        """The family whose MTP block is the same, but for the beginnings of names; or empty."""


class Block(NamedTuple):
    """The tensors of an MTP block, as far as the configuration lets them be named.

    Attributes:
        roots: what names of MTP tensors begin with; None where that is not known.
        tensors: what stands on disk below these roots.
        alone: names of weights from elsewhere that the draft may load.
        beside: names of other weights whose dtype the engine goes by.
        unclear: why not all of them could be named, or None.
    """

    roots: tuple[str, ...] | None = None
    tensors: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    unclear: UnknownError | None = None

    def wanted(self) -> tuple[str, ...]:
        """The tensors whose headers are needed, or none where some could not be named."""
        return () if self.unclear else (*self.tensors, *self.alone, *self.beside)


class _NotAnalyzable:
    """A target that nothing can be said about module by module."""

    def require(self) -> Analyzable:
        """Return the target, if its modules can be foreseen under quantization metadata.

        Raises:
            UnknownError: they cannot.
        """
        raise UnknownError("nothing to compare: no quantized MTP block", "see `mtpfix families`")


QuantizedBy = Literal["draft", "target", "nothing"]
"""Whose metadata say how a draft is quantized: its own, the target's, or none at all."""


@dataclass(frozen=True)
class OtherDraft(_NotAnalyzable):
    """A draft that is not MTP.

    Attributes:
        title: as people call it.
        method: what the engine calls it where speculation is configured.
        releases: the releases that can serve it, as a specifier.
        inside: it lies in the checkpoint of its target, in the place of an MTP block.
        evidence: the architecture or the tensor that shows it.
        quantized_by: whose quantization metadata it is built with.
        question: what would have to be known to judge it; None: nothing is quantized.
    """

    title: str
    method: str
    releases: str
    inside: bool
    evidence: str
    quantized_by: QuantizedBy = "draft"
    question: str | None = None


@dataclass(frozen=True)
class Reading:
    """What an engine reads in the files of one checkpoint.

    Attributes:
        family: what the engine knows of the model family; None: it does not know it.
        unknown_family: why it does not; None where nothing is quantized and there is no MTP block.
        view: the quantization metadata; None: there is none, or none that can be read.
        method: the quantization method as the metadata names it; None: there is no metadata.
        unreadable: why the metadata cannot be read, or None.
        other: the draft that it holds in the place of an MTP block, or that it is; or None.
        block: the tensors of its MTP block.
        reads_headers: the metadata lists nothing, and the engine reads all headers instead.
    """

    family: Family | None
    unknown_family: UnknownError | None
    view: QuantView | None
    method: str | None
    unreadable: UnknownError | None
    other: OtherDraft | None
    block: Block
    reads_headers: bool = False

    @property
    def family_name(self) -> str | None:
        """Name of the family; None: it is not known."""
        return None if self.family is None else self.family.family


@dataclass(frozen=True)
class Analyzable:
    """A target that the engine can be foreseen for.

    Attributes:
        engine: the engine.
        files: the target.
        reading: what the engine reads in its files.
        family: what the engine knows of its family.
        view: its metadata; `UNQUANTIZED` where it has none.
    """

    engine: Engine
    files: Files
    reading: Reading
    family: Family
    view: QuantView

    def cases(
        self, releases: Sequence[str], platforms: Sequence[Platform]
    ) -> tuple[EngineCase, ...]:
        """Return one case for each release and platform; see `Engine.cases`."""
        return self.engine.cases(self, releases, platforms)

    def require(self) -> Analyzable:
        """Return the target itself.

        Raises:
            UnknownError: it has no quantization metadata.
        """
        if not self.view.method:
            raise UnknownError(
                "nothing to compare: the quantization metadata is not known",
                "see `mtpfix families`",
            )
        return self


@dataclass(frozen=True)
class NoQuantization(_NotAnalyzable):
    """Nothing is quantized, and no MTP layers are declared: there is nothing to judge."""


@dataclass(frozen=True)
class Unsupported(_NotAnalyzable):
    """A target that the engine cannot be foreseen for.

    Attributes:
        error: the reason.
        reading: what the engine reads in its files.
        by_names: what is left to look at: names of tensors, whatever the metadata says; or None.
    """

    error: UnknownError
    reading: Reading
    by_names: Analyzable | None

    def require(self) -> Analyzable:
        """Raise the reason.

        Raises:
            UnknownError: always.
        """
        raise self.error


Opening = Analyzable | NoQuantization | OtherDraft | Unsupported
"""What a target is to an engine."""

UNQUANTIZED = QuantView(
    method="",
    file="config.json",
    pointer="",
    ignore=(),
    ignore_pointer="",
    groups=(),
    format=None,
)
"""Stands for the metadata of a checkpoint that has none: everything is built unquantized."""
