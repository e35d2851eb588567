"""The records of what is known of SGLang: families, releases, evidence."""

from typing import Any, Literal

import msgspec

from mtpfix.engines.policies import family as policies
from mtpfix.engines.policies.condition import Condition, File, Record
from mtpfix.engines.policies.condition import Releases as Specifier
from mtpfix.engines.policies.expression import Template
from mtpfix.model import Consequence, Grade, Part, State

LimitPhase = Literal["config", "build", "load", "forward"]


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
    stacked: str | None = None
    """The same for routed experts that lie in one tensor, in the target model too; None: as for
    others."""
    merged: str | None = None
    """The same for members of a layer that loads them part by part; None: as for others."""
    reads: tuple[str, ...] = ()
    """Layers whose `weight` is read after a load, by the last part of their names, in the target
    model too."""
    threads: bool = False
    """Whether weights are copied in threads, where exceptions are lost."""
    unjoined: tuple[State, ...] = ()
    """How members of a fused layer are stored that it fails to join, in the target model too."""
    first_scalar: bool = False
    """Whether it takes the first of scalars that it is to join, in the target model too; else it
    raises."""
    blind: bool = False
    """Whether it is not known what becomes of the scales of a quantized block."""
    unfilled: str = ""
    """The exception for parameters that no tensor filled, `Type: message`; empty: none."""
    renames: dict[str, str] = msgspec.field(default_factory=dict)
    """Suffixes on disk that are loaded as others, in the target model too."""
    same_formats: dict[str, str] = msgspec.field(default_factory=dict)
    """Formats on disk that such names alone tell from others, and those others."""
    dequantizes: dict[str, str] = msgspec.field(default_factory=dict)
    """End of the name of a layer -> the suffix of the scale by which FP8 is turned into plain
    weights where the layer is built unquantized, in the target model too."""
    unasked: tuple[str, ...] = ()
    """Layers whose parts may end anywhere in a block, by the last part of their names."""
    joins: tuple[str, ...] | None = None
    """Suffixes by which members of a layer are joined whose loader takes it as a whole, in the
    target model too; None: all. The others are dropped."""


class LimitRow(Condition, frozen=True, kw_only=True):
    """A fault of SGLang that no metadata can fix: of all modules, or of those that are chosen."""

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
    phase: LimitPhase = "build"
    """When it shows."""
    parts: tuple[Part, ...] = ("draft",)
    """The parts that have it."""
    modules: tuple[str, ...] | None = None
    """Ends of the names of the modules that have it; left out: all."""
    disk: State | None = None
    """How they are stored; left out: in any way."""
    stored: str | None = None
    """The module on disk of which `disk` speaks in their place."""
    scaled: str | None = None
    """A module on disk that has a tensor `scale`."""


class BreakRow(Condition, frozen=True, kw_only=True):
    """A layer whose model class fails where the layer itself is built as is asked for."""

    module: str
    """End of the name of the layer."""
    quantized: bool = False
    """Whether it fails where the layer is quantized; else where it is not."""
    expects: tuple[str, ...] | None = None
    """Formats on disk, one of which the built layer loads; left out: whatever it loads."""
    beside: str | None = None
    """End of the name, in its place, of a layer that must be built in FP8 for it to fail."""
    error: str
    """The exception, `Type: message`."""
    reason: str
    """What is wrong, for users."""
    good_from: str | None = None
    """The first release without it; None: there is none."""
    remedy: str | None = None
    """What helps."""


class UnjudgedRow(Condition, frozen=True, kw_only=True):
    """Modules of the draft of which it is not known what a load comes to."""

    modules: tuple[str, ...]
    """Ends of their names."""
    reason: str
    """Why, for users."""


class FaultsRow(Condition, frozen=True, kw_only=True):
    """Faults that other families have, too."""

    use: str
    """Their name in `faults.json`."""


class GradeRow(Condition, frozen=True, kw_only=True):
    """The evidence for a family."""

    value: Grade
    """The evidence."""


class Probe(Record, frozen=True, kw_only=True):
    """Tensors whose first one tells how routed experts are built; rows speak of it as `probed`."""

    tensors: str
    """Regular expression that is looked for in the names."""
    dtypes: dict[str, str]
    """Its dtype -> what rows call it; `unknown` stands for one that is not known."""
    otherwise: str
    """What they call any other, and that there is none."""


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
    """Modules of the draft of which it is not known what a load comes to."""
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)
    """What a server is told so that it builds this draft, by the names of its arguments."""
    flags: tuple[str, ...] = ()
    """The same as the command line has it."""
    probe: Probe | None = None
    """What SGLang looks for among the tensors before it builds anything."""
    breaks: tuple[BreakRow, ...] = ()
    """Layers that a model class must have quantized, or not."""
    loader: tuple[LoaderRow, ...] = ()
    """What the draft's loader does with what does not fit."""
    limits: tuple[LimitRow, ...] = ()
    """Faults that no metadata can fix."""
    faults: tuple[FaultsRow, ...] = ()
    """Faults that other families have, too; all rows that hold count, after those of its own."""


class Shared(Record, frozen=True, kw_only=True):
    """Faults that several families share: rows as a family has them."""

    breaks: tuple[BreakRow, ...] = ()
    """Layers that a model class must have quantized, or not."""
    limits: tuple[LimitRow, ...] = ()
    """Faults that no metadata can fix."""


class Faults(File, frozen=True, kw_only=True):
    """`faults.json`: faults that several families share."""

    faults: dict[str, Shared]
    """The rows, by the name that policies use."""


class Releases(File, frozen=True, kw_only=True):
    """`releases.json`: the releases of SGLang."""

    covered: tuple[str, ...]
    """The releases that policies speak about, oldest first."""
    methods: dict[str, Specifier]
    """Quantization methods -> the releases that have them (`QUANTIZATION_METHODS`)."""


class Evidence(File, frozen=True, kw_only=True):
    """`evidence.json`: what is known by running SGLang, by quantization method."""

    decisions: dict[str, int]
    """How many decisions are recorded, by method."""
    recorded: dict[str, dict[str, tuple[str, ...]]]
    """Method -> family -> the releases whose decisions are recorded."""
    proved: dict[str, dict[str, tuple[str, ...]]]
    """Method -> recipe -> the families whose repaired checkpoints SGLang has loaded."""


class Parameters(Record, frozen=True, kw_only=True):
    """What a module that loads a format reads on disk."""

    needed: tuple[str, ...]
    """Suffixes that each of its modules on disk must have."""
    more: tuple[str, ...] = ()
    """Suffixes that it may have besides."""
    by_scheme: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """Scheme of a layer -> suffixes, of `more`, that each of its modules must have, too."""
    either: tuple[str, ...] = ()
    """Suffixes of which routed experts have one value for gate and up: one of the two is enough."""
    undivided: tuple[str, ...] = ()
    """Suffixes of which a fused layer has room for one value: that of a later part raises."""
    stored: str | None = None
    """The format on disk, if it has another name."""
    error: str | None = None
    """The exception that the load of a draft ends in, as `Type: message`, though all is there."""
    packed: bool = False
    """Whether its weight has another shape than a plain one."""
    float8: bool = False
    """Whether its weight is FP8 under the name of a plain one."""
    once: tuple[str, ...] = ()
    """Suffixes of which it has one value for a whole layer: two cannot be joined, but for scalars
    of which a loader takes the first."""
    fixed: tuple[str, ...] = ()
    """Suffixes of which it has one vector for a whole layer, such as its shape: two cannot be
    joined."""
    rows: int | None = None
    """Rows of a block: where a part of a fused layer, or an expert's gate, ends must one end."""
    last: bool = False
    """Whether that is asked of the last part of a fused layer, too."""


class Formats(File, frozen=True, kw_only=True):
    """`parameters.json`: what modules read on disk."""

    formats: dict[str, dict[str, Parameters]]
    """Method -> format on disk -> suffixes."""
