"""The record of one model family, `families/NAME/policy.json`, and that of their index."""

from typing import Any

import msgspec

from mtpfix.engines.vllm.expression import Expression, Template
from mtpfix.engines.vllm.records.condition import Condition, File, Record, Releases, TextRow, every
from mtpfix.engines.vllm.records.fault import LimitRow, RequiresRow
from mtpfix.engines.vllm.records.loader import CacheScalesRow, DestinationsRow, LoaderRow
from mtpfix.engines.vllm.records.module import Section
from mtpfix.model import Grade, Platform


class GradeRow(Condition, frozen=True, kw_only=True):
    """The evidence for a family."""

    value: Grade
    """The evidence."""


class UndeclaredRow(Condition, frozen=True, kw_only=True):
    """MTP layers that vLLM takes where `config.json` declares none."""

    value: int
    """How many."""


class PerLayerRow(Condition, frozen=True, kw_only=True):
    """A value that is derived for each layer."""

    name: str
    """Its name in expressions."""
    value: Expression
    """The value; `layer` is the number of the layer."""


class PackedRow(Condition, frozen=True, kw_only=True):
    """A packed-modules mapping."""

    value: dict[str, list[str]]
    """Fused name -> the names of its shards."""


class MapperRow(Condition, frozen=True, kw_only=True):
    """Rules of a name mapper.

    A row without rules says that a mapper runs all the same: ModelOpt takes `X*` apart
    wherever one does.
    """

    about: str = ""
    """Remark for readers."""
    substr: dict[str, str] = {}
    """Part of a name -> what it is replaced by, once."""
    prefix: dict[str, str] = {}
    """Beginning of a name -> what it is replaced by."""
    suffix: dict[str, str] = {}
    """End of a name -> what it is replaced by."""


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


class Family(File, frozen=True, kw_only=True):
    """What is known about one model family.

    Where one answer is wanted of some rows, the first that holds counts.
    """

    title: str
    """Name of the family, for readers."""
    text: str = ""
    """Key of the nested text configuration."""
    kin: str = ""
    """The family whose MTP block is the same, but for the beginnings of names: a model with and
    without a vision tower."""
    releases: Releases = msgspec.field(default_factory=every)
    """The releases in which vLLM has a draft for the family; left out: all."""
    platforms: tuple[Platform, ...] | None = None
    """The platforms on which it has one; left out: all."""
    grades: tuple[GradeRow, ...] = ()
    """The evidence, where it is not as `evidence.json` has it (`run` on CUDA where a release
    is recorded, else `read`)."""
    num_hidden_layers: Expression
    """Number of layers of the target model."""
    mtp_layers: Expression
    """Number of MTP layers."""
    undeclared: tuple[UndeclaredRow, ...] = ()
    """MTP layers that vLLM takes where `config.json` declares none."""
    defaults: dict[str, Any] = {}
    """What vLLM takes for fields that `config.json` leaves out."""
    derived: dict[str, Expression] = {}
    """Further values of the model, by name."""
    per_layer: tuple[PerLayerRow, ...] = ()
    """Further values of each layer."""
    disk_roots: tuple[Template, ...]
    """Beginnings of the names of the MTP block's tensors on disk; `i` counts the MTP layers."""
    draft_class: tuple[TextRow, ...] = ()
    """Class of the draft."""
    packed: tuple[PackedRow, ...] = ()
    """Packed-modules mapping in force while the draft is built."""
    trunk_packed: tuple[PackedRow, ...] = ()
    """That of the target model, where it is another."""
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
    trunk: tuple[Section, ...]
    """Modules of the target model."""
    draft: tuple[Section, ...]
    """Modules of the draft."""


class Head(Record, frozen=True, kw_only=True):
    """How a family is told."""

    architectures: tuple[str, ...]
    """Architectures in `config.json`."""
    model_types: tuple[str, ...]
    """The `model_type`, which counts where no architecture is named."""


class Index(File, frozen=True, kw_only=True):
    """`families.json`: which families there are, so that one policy is loaded at a time."""

    families: dict[str, Head]
    """How each family is told, by name of its policy."""
    mtp_keys: tuple[str, ...]
    """Keys of `config.json` that declare MTP layers, in whatever family."""
