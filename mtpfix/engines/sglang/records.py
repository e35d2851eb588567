"""The records of what is known of SGLang: families, releases, evidence."""

from mtpfix.engines.policies import family as policies
from mtpfix.engines.policies.condition import Condition, File, Record
from mtpfix.engines.policies.expression import Template
from mtpfix.model import Consequence, Grade, State


class DropRow(Condition, frozen=True, kw_only=True):
    """Where the draft class builds its block without the metadata, whatever they list.

    All of what is said must hold.
    """

    listed: Template | None = None
    """Regex; the list has an entry that it fits as a whole, as the file spells it."""
    exempt: Template | None = None
    """Name of the block, before the draft's mapper; the method exempts it."""
    without_layers: str = ""
    """No key of `quantized_layers` begins so."""
    head: bool = False
    """Whether the head is built without the metadata, too."""


class SparesRow(Condition, frozen=True, kw_only=True):
    """Layers that a model class builds without asking, since it looks into the list itself."""

    by: dict[str, str]
    """Last part of a layer's name -> the part in its place in the entry that spares it."""


class LoaderRow(Condition, frozen=True, kw_only=True):
    """What the draft's `load_weights` does with a tensor that has no parameter of its name."""

    unexpected: str = "skipped"
    """`skipped`, or the type of the exception that it raises."""
    experts: str = "skipped"
    """The same for tensors of routed experts."""
    merged: str | None = None
    """The same for members of a layer that loads them part by part; None: as for others."""
    reads: tuple[str, ...] = ()
    """Layers whose `weight` is read after a load, by the last part of their names."""
    threads: bool = False
    """Whether weights are copied in threads, where exceptions are lost."""
    unjoined: tuple[State, ...] = ()
    """How members of a fused layer are stored that it fails to join."""
    blind: bool = False
    """Whether it is not known what becomes of the scales of a quantized block."""
    unfilled: str = ""
    """The exception for parameters that no tensor filled, `Type: message`; empty: none."""


class LimitRow(Condition, frozen=True, kw_only=True):
    """A fault of SGLang that no metadata can fix."""

    reason: str
    """What is wrong, for users."""
    error: str | None = None
    """The exception, `Type: message`; None: there is none, or it is not known."""
    outcome: Consequence = "load_error"
    """What comes of it: `load_error` or `silent_garbage`."""
    good_from: str | None = None
    """The first release without it; None: there is none."""
    remedy: str | None = None
    """What helps."""


class UnjudgedRow(Condition, frozen=True, kw_only=True):
    """Where nothing is foreseen of a family."""

    reason: str
    """Why, for users."""


class GradeRow(Condition, frozen=True, kw_only=True):
    """The evidence for a family."""

    value: Grade
    """The evidence."""


class Family(policies.Family, frozen=True, kw_only=True):
    """What is known about one model family.

    Where one answer is wanted of some rows, the first that holds counts.
    """

    grades: tuple[GradeRow, ...] = ()
    """The evidence, where it is not as `evidence.json` has it."""
    mappers: tuple[policies.MapperRow, ...] = ()
    """Name mapper of the draft class. Of each kind of rule the longest that fits runs, once."""
    trunk_mappers: tuple[policies.MapperRow, ...] = ()
    """The same of the target model."""
    drops: tuple[DropRow, ...] = ()
    """Where the draft class builds its block without the metadata."""
    spares: tuple[SparesRow, ...] = ()
    """Layers that are built without asking, because of an entry."""
    unjudged: tuple[UnjudgedRow, ...] = ()
    """Where nothing is foreseen."""
    loader: tuple[LoaderRow, ...] = ()
    """What the draft's loader does with what does not fit."""
    limits: tuple[LimitRow, ...] = ()
    """Faults that no metadata can fix."""


class Releases(File, frozen=True, kw_only=True):
    """`releases.json`: the releases of SGLang."""

    covered: tuple[str, ...]
    """The releases that policies speak about, oldest first."""


class Evidence(File, frozen=True, kw_only=True):
    """`evidence.json`: what is known by running SGLang, by quantization method."""

    decisions: dict[str, int]
    """How many decisions are recorded, by method."""
    recorded: dict[str, dict[str, tuple[str, ...]]]
    """Method -> family -> the releases whose decisions are recorded."""


class Parameters(Record, frozen=True, kw_only=True):
    """What a module that loads a format reads on disk."""

    needed: tuple[str, ...]
    """Suffixes that each of its modules on disk must have."""
    more: tuple[str, ...] = ()
    """Suffixes that it may have besides."""
    packed: bool = False
    """Whether its weight has another shape than a plain one."""
    float8: bool = False
    """Whether its weight is FP8 under the name of a plain one."""
    single: bool = False
    """Whether it has one value, or one shape, for a whole layer: two of them cannot be joined."""


class Formats(File, frozen=True, kw_only=True):
    """`parameters.json`: what modules read on disk."""

    formats: dict[str, dict[str, Parameters]]
    """Method -> format on disk -> suffixes."""
