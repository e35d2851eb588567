"""The record of one model family, `families/NAME/policy.json`."""

from typing import Any

import msgspec

from mtpfix.engines.policies import family as policies
from mtpfix.engines.policies.condition import Condition, Record, TextRow
from mtpfix.engines.policies.expression import Expression, Template
from mtpfix.engines.policies.family import MapperRow
from mtpfix.engines.vllm.records.fault import LimitRow, RequiresRow
from mtpfix.engines.vllm.records.loader import (
    CacheScalesRow,
    DestinationsRow,
    LoaderRow,
    TargetLoaderRow,
)
from mtpfix.model import Grade


class GradeRow(Condition, frozen=True, kw_only=True):
    """The evidence for a family."""

    value: Grade
    """The evidence."""


class Shift(Record, frozen=True, kw_only=True):
    """Layers of which a draft's mapper changes the number."""

    prefix: str
    """Beginning of the names."""
    after: str
    """What stands before the number."""
    by: Expression
    """What is added to the number."""


_ONCE = Expression("1")


class DraftMapperRow(Condition, frozen=True, kw_only=True):
    """Rules of the name mapper of a draft class."""

    substr: dict[str, str] = {}
    """Part of a name -> what it is replaced by, once."""
    prefix: dict[Template, Template] = {}
    """Beginning of a name -> what it is replaced by; `i` is the number of the MTP layer."""
    layers: Expression = msgspec.field(default_factory=lambda: _ONCE)
    """For how many MTP layers the rules are made."""
    shift: Shift | None = None
    """Numbers of layers that are changed."""
    added: bool = False
    """Whether what the rules make is put behind the list, and the entries stay."""


class RereadRow(Condition, frozen=True, kw_only=True):
    """Metadata of one method that vLLM hands on to another."""

    method: str
    """The other method."""
    format: str
    """The format that it finds."""
    metadata: dict[str, Any]
    """The metadata that it reads, beside the entries."""


class SuffixRow(Condition, frozen=True, kw_only=True):
    """The model class has entries fit the ends of names too."""

    within: str = ""
    """Of the target model, only the names that begin so."""


class OwnClass(Record, frozen=True, kw_only=True):
    """What a draft class builds for one kind of module."""

    scheme: str
    """The class."""
    expects: str
    """The format on disk that it loads."""


class OwnMethodRow(Condition, frozen=True, kw_only=True):
    """A quantization method that the draft class takes from another field than the metadata.

    Kinds that are left out are unquantized.
    """

    method: str
    """The method."""
    linear: OwnClass | None = None
    """What it builds for linear layers."""
    experts: OwnClass | None = None
    """What it builds for routed experts."""
    lm_head: OwnClass | None = None
    """What it builds for output heads."""
    embedding: OwnClass | None = None
    """What it builds for embeddings."""


class SparesRow(Condition, frozen=True, kw_only=True):
    """What the draft class builds unquantized, without asking, because of an entry."""

    below: str
    """Beginning of the names of those modules."""
    begins: str
    """How the entry begins."""
    holds: str
    """What the entry holds."""
    null: str
    """The exception where `null` stands for the entries."""


class Family(policies.Family, frozen=True, kw_only=True):
    """What is known about one model family.

    Where one answer is wanted of some rows, the first that holds counts.
    """

    like: str = ""
    """Another family, whose fields hold where this one has none of its own: one with the same
    target model."""
    speculation: str = "mtp"
    """What `--speculative-config` calls the method of the draft."""
    serving: tuple[TextRow, ...] = ()
    """What else is to be said of how a draft that is not MTP is served, in a sentence."""
    grades: tuple[GradeRow, ...] = ()
    """The evidence, where it is not as `evidence.json` has it (`run` on CUDA where a release
    is recorded, else `read`)."""
    mappers: tuple[MapperRow, ...] = ()
    """Name mapper of the target model; all rows that hold run, in order."""
    draft_mappers: tuple[DraftMapperRow, ...] = ()
    """Name mapper of the draft class; all rows that hold run, in order."""
    own_config: tuple[Condition, ...] = ()
    """Where the draft reads the quantization metadata anew."""
    rereads: tuple[RereadRow, ...] = ()
    """Where vLLM hands metadata of one method on to another."""
    suffix_match: tuple[SuffixRow, ...] = ()
    """Where the model class has entries fit the ends of names too."""
    own_method: tuple[OwnMethodRow, ...] = ()
    """Where the draft is quantized by another field than the metadata."""
    loader: tuple[LoaderRow, ...] = ()
    """What the draft's loader does with what does not fit."""
    trunk_loader: tuple[TargetLoaderRow, ...] = ()
    """What the target model's loader does with what nothing takes; no row: not known."""
    destinations: tuple[DestinationsRow, ...] = ()
    """What the draft's loader makes of names."""
    cache_scales: tuple[CacheScalesRow, ...] = ()
    """What the draft's loader does with scales of a quantized KV cache."""
    untracked: tuple[Condition, ...] = ()
    """Where `load_weights` does not say what it loaded: without quantization nothing is
    missed then."""
    limits: tuple[LimitRow, ...] = ()
    """Faults that no metadata can fix."""
    spares: tuple[SparesRow, ...] = ()
    """Modules that the draft class builds without asking, because of an entry."""
    requires: tuple[RequiresRow, ...] = ()
    """Keys of the metadata that the model class reads without asking."""
