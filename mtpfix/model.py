"""The records that travel through mtpfix, stage by stage.

Every record is frozen and made of plain values; beside the errors, this module imports the
standard library only, so that any stage can be tested with literals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from mtpfix.errors import UsageError

if TYPE_CHECKING:
    from types import ModuleType

Json = Any
"""A value as `json.loads` returns it."""

Grade = Literal["run", "read", "assumed"]
"""How a fact about an engine is known: executed, read in its source, or assumed."""

GRADES: tuple[Grade, ...] = ("run", "read", "assumed")
"""From the strongest to the weakest."""

Platform = Literal["cuda", "cuda:10.0", "rocm", "xpu", "cpu"]
"""What an engine runs on. An engine may build other modules for a GPU of compute capability 10.0
(Blackwell) than for Hopper: `cuda:10.0` is the one, and `cuda` the other. Elsewhere `cuda` is both.
"""
PLATFORMS: tuple[Platform, ...] = ("cuda", "cuda:10.0", "rocm", "xpu", "cpu")


# --- what is on disk ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """What the user pointed at."""

    kind: Literal["local", "hub"]
    name: str
    """Folder path, or `org/name`."""
    revision: str | None = None
    """Resolved commit hash of a Hub repo."""


class Tensor(NamedTuple):
    """One entry of a safetensors header."""

    dtype: str
    """The dtype as the header spells it, for example `BF16`."""
    shape: tuple[int, ...]
    begin: int
    """First byte of the data, relative to the end of the header."""
    end: int


@dataclass(frozen=True, slots=True)
class JsonFile:
    """A JSON metadata file: its exact text and the parsed value."""

    name: str
    """Path inside the repo, for example `config.json`."""
    raw: bytes
    value: Json


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with the files themselves, found while reading them."""

    kind: Literal["shadowed_index", "not_in_index", "header_disagrees"]
    message: str
    file: str
    tensors: tuple[str, ...] = ()
    elsewhere: bool = False
    """Whether the file is one of the draft's own checkpoint, and not of the target."""
    unread: bool = False
    """Whether nobody knows which tensors are in the file, since its header was not read."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a folder or repo says it holds, before any tensor header is read."""

    target: Target
    files: tuple[str, ...]
    """Paths of all files, sorted."""
    configs: Mapping[str, JsonFile]
    """Metadata files that are present, by path (`config.json`, ...)."""
    shards: Mapping[str, str]
    """Tensor name -> shard path. From the index; from the headers where there is none."""
    layout: Literal["index", "headers", "none"]
    """Where `shards` comes from; `none`: there are no safetensors files."""
    headers: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    """Shard path -> its header, for those shards that had to be opened already."""
    problems: tuple[Problem, ...] = ()
    index: str | None = None
    """The index file that chooses among the weight files; None: there is none."""
    strays: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    """Weight file that no engine reads -> its header, where that was read."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A listing together with the headers of the shards that matter."""

    listing: Listing
    headers: Mapping[str, Mapping[str, Tensor]]
    """Shard path -> tensor name -> entry, only for the shards that were opened."""
    problems: tuple[Problem, ...] = ()

    def tensor(self, name: str) -> Tensor | None:
        """The header entry of tensor `name`, or None when its shard was not opened."""
        shard = self.listing.shards.get(name)
        return None if shard is None else self.headers.get(shard, {}).get(name)


class State(str, Enum):
    """How the weights of one module are stored."""

    QUANTIZED = "quantized"
    UNQUANTIZED = "unquantized"
    MIXED = "mixed"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Precision:
    """How one module is stored, and in which format."""

    state: State
    format: str | None = None
    """A name from `data/formats.json` (`bf16`, `fp8-block`, `nvfp4-pack`, ...)."""


# --- what the metadata says --------------------------------------------------


HEADERS = "safetensors headers"
"""Stands for a file where an engine reads headers in the place of a list."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of an ignore list or of a target list, and where it stands."""

    text: str
    file: str
    pointer: str
    """JSON pointer (RFC 6901) inside `file`."""
    written: str | None = None
    """Spelling in the file, where the engine's name mapper changed it."""
    within: str | None = None
    """Beginning of the names that it fits by their end too, after a dot; None: of none."""

    @property
    def spelling(self) -> str:
        """The entry as the file spells it."""
        return self.text if self.written is None else self.written

    @property
    def derived(self) -> bool:
        """Whether the engine made it from tensor headers: no file of metadata holds it."""
        return self.file == HEADERS


@dataclass(frozen=True, slots=True)
class Group:
    """A set of targets that share one scheme."""

    name: str
    targets: tuple[Entry, ...]
    weights: Mapping[str, Json] | None
    input_activations: Mapping[str, Json] | None
    output_activations: Mapping[str, Json] | None = None
    format: str | None = None
    """Format of the group; None: the format of the whole configuration."""


@dataclass(frozen=True, slots=True)
class Twin:
    """Another file that must carry the same entries, for other readers."""

    file: str
    pointer: str
    """Where its entries stand, or would stand."""
    ignore: tuple[Entry, ...]
    null: bool = False
    """Whether `null` stands in the place of the entries, or no object for keys to go into."""
    otherwise: tuple[str, ...] = ()
    """What else it says otherwise than the file that vLLM reads, each a noun."""
    stated: Mapping[str, Json] | None = None
    """The object, where the entries are keys of one."""


@dataclass(frozen=True, slots=True)
class Unread:
    """Entries that stand where some releases do not look for them."""

    releases: str
    """The releases that do not, as a specifier."""
    pointer: str
    """Where all releases look first, and where nothing stands."""


@dataclass(frozen=True, slots=True)
class QuantView:
    """The quantization metadata of a checkpoint, read by its dialect."""

    method: str
    """`quant_method` as vLLM reads it, for example `compressed-tensors`."""
    file: str
    pointer: str
    """Where the configuration stands, for example `/quantization_config`."""
    ignore: tuple[Entry, ...]
    """The entries that can exempt modules: items of a list, or keys of an object."""
    ignore_pointer: str
    """Where they stand, or would stand if there are none."""
    groups: tuple[Group, ...]
    format: str | None
    files: tuple[str, ...] = ()
    """Every file and pointer that carries quantization metadata, `file#pointer`."""
    raw: Mapping[str, Json] = field(default_factory=dict)
    keyed: bool = False
    """Whether the entries are keys of an object."""
    stub: Json = None
    """The value of a new key."""
    foremost: bool = False
    """Whether new keys go before the others: the first that fits decides, not all exempt."""
    null: bool = False
    """Whether `null` stands in the place of the entries."""
    twins: tuple[Twin, ...] = ()
    unread: Unread | None = None


# --- what the engine builds --------------------------------------------------

Kind = Literal["linear", "experts", "lm_head", "embedding"]
Part = Literal["draft", "trunk"]


@dataclass(frozen=True, slots=True)
class Module:
    """A module that the engine constructs, by the name it asks its matcher about."""

    part: Part
    name: str
    """Construction-time prefix: exactly what is passed to `get_quant_method`."""
    kind: Kind
    cls: str
    """Class name of the layer: targets may match by it."""
    members: tuple[str, ...]
    """Module names on disk that are loaded into it (`*` stands for an expert number).
    Empty: the engine only asks about it, to choose what to build, and throws it away."""
    stacked: tuple[str, ...] = ()
    """Alternative to `members`: names of 3-D tensors that hold all experts at once."""
    param: str = ""
    """Path of the module in the engine's module tree (what its loader prints)."""
    asks: bool = True
    """False: built without quantization configuration, so never quantized."""
    lenient: bool = False
    """Built unquantized, but the loader dequantizes what is quantized on disk."""
    probe: tuple[str, ...] = ()
    """For experts: the member names of expert 0 that are asked instead of the module."""
    experts: int = 0
    parts: tuple[int, ...] = ()
    """Rows of the parts that it is built of, where those are not its members."""
    layer: int | None = None
    """Index of the draft layer or of the trunk layer; None for modules outside layers."""
    optional: bool = False
    """Absent from many checkpoints on purpose (shared with the trunk at run time)."""
    tied: bool = False
    """It takes the weight of its member, an embedding: quantized, it has no scales."""
    if_quantized: tuple[str, ...] = ()
    """Names of modules before it; it is built only where one of them came out quantized."""
    unless_quantized: tuple[str, ...] = ()
    """Names of modules before it; it is built only where none of them came out quantized."""
    alike: tuple[str, ...] = ()
    """Names of modules before it; it is built only where all came out quantized, or none."""
    unlike: tuple[str, ...] = ()
    """Names of modules before it; it is built only where some came out quantized, and some not."""
    refuses: str | None = None
    """`Type: message` that its class raises where the decision is to quantize it."""
    grade: Grade = field(default="run", compare=False)

    @property
    def hangs_on(self) -> tuple[str, ...]:
        """Return the names of which the decisions say whether it is built."""
        return (*self.unless_quantized, *self.if_quantized, *self.alike, *self.unlike)


@dataclass(frozen=True, slots=True)
class Plain:
    """A parameter of the draft that is never quantized and belongs to no module: a norm's, say."""

    name: str
    """The tensor on disk that fills it."""
    param: str
    """Its path in the engine's module tree."""
    layer: int | None = None
    optional: bool = False
    """Whether nothing is lost where the tensor is absent: another takes its place."""


class Stray(NamedTuple):
    """A tensor of the MTP block that no parameter takes."""

    name: str
    raises: bool
    error: str | None
    """What the loader raises at it; None: it drops the tensor, or what it raises is not known."""


class TargetStray(NamedTuple):
    """A tensor of the target model that no module of it takes."""

    name: str
    fate: Literal["raises", "dropped", "unknown"]
    """What the loader does at it."""
    error: str | None
    """What it raises, with `…` for what is not known."""
    lost: bool
    """Whether a module has no other weights on disk, and stays uninitialised."""


Built = Literal["quantized", "unquantized", "error", "unknown"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the engine builds for one module, and why."""

    module: Module
    built: Built
    scheme: str | None = None
    """The engine's class for the scheme (linear) or the method (experts)."""
    expects: str | None = None
    """Format on disk that the built module loads; None where that is not known."""
    because: Entry | None = None
    """The entry that decided; None: nothing matched."""
    error: str | None = None
    """`Type: message` of the exception, where building raises."""
    packing: tuple[int, int] | None = None
    """Bits and group size (-1: of the whole row) of the packed integers that it loads; None: it
    loads none, or the metadata does not say."""
    block: tuple[int, int] | None = None
    """Outputs and inputs that share a scale of the FP8 weights that it loads, where they do."""
    halved: bool = False
    """Whether it raises since entries exempt some members of the module and others not."""


Consequence = Literal["load_error", "silent_garbage"]


@dataclass(frozen=True, slots=True)
class ModuleReport:
    """One decision set against the disk."""

    decision: Decision
    disk: Precision
    members: tuple[str, ...]
    """Disk modules that exist for it, expert numbers written out."""
    agrees: bool | None
    consequence: Consequence | None = None
    detail: str | None = None
    """For a load error, `Type: message` as the engine words it; what is done to a module that
    is `replaced`."""
    tensor: str | None = None
    """The first tensor on disk, in load order, that the built module cannot take."""
    replaced: bool = False
    """Whether it does not fit, and the target model's own takes its place before that matters."""
    limit: Limit | None = None
    """Why no metadata can help here, where that is so."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A known fault of an engine release that no metadata can fix."""

    reason: str
    outcome: Consequence
    error: str | None
    phase: Literal["config", "build", "load", "forward"]
    """When it shows: while the metadata is read, while the draft is built or loaded, or at its
    first forward pass."""
    good_from: str | None
    """First release that is free of it; None: no covered release is."""
    grade: Grade
    remedy: str | None = None
    """What helps, where it is neither a newer release nor to quantize the module."""


Outcome = Literal["clean", "load_error", "silent_garbage", "no_mtp", "unknown"]
FAILED: tuple[Outcome, ...] = ("load_error", "silent_garbage")
"""Outcomes that no gate may let pass."""


@dataclass(frozen=True, slots=True)
class EngineReport:
    """One engine release on one platform, judged for one checkpoint."""

    engine: str
    version: str
    platform: Platform
    outcome: Outcome
    modules: tuple[ModuleReport, ...]
    error: str | None = None
    """First exception the engine would raise, `Type: message`."""
    reason: str | None = None
    """Why the outcome is unknown, where it is."""
    decides: bool = True
    """Whether exit codes ask for it: not of an engine that is only told beside."""
    confidence: Grade = "run"
    """How well the release is known; `assumed`: it is judged by the facts of an older one."""


# --- what is wrong, and the repair -------------------------------------------

Severity = Literal["error", "warning", "info"]
Applicability = Literal["safe", "unsafe", "display"]


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of one JSON file."""

    file: str
    pointer: str
    """JSON pointer of the value that changes; `/-` at the end appends to a list."""
    op: Literal["add", "remove", "replace"]
    value: Json = None


@dataclass(frozen=True, slots=True)
class Fix:
    """What would fix a finding, and how far it can be trusted."""

    title: str
    applicability: Applicability
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a file that a person can go to."""

    file: str
    pointer: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing, with its evidence."""

    code: str
    severity: Severity
    confidence: Grade
    message: str
    modules: tuple[str, ...] = ()
    where: Where | None = None
    remedy: str | None = None
    """What the user can do by hand, in a few words."""
    releases: tuple[str, ...] = ()
    """Engine releases that it holds for; empty: it does not depend on one.

    Each may have its platform behind it, and its engine before it where several are judged.
    """
    entries: tuple[str, ...] = ()
    """Entries that it is about, as the files spell them; empty: it is not about entries."""
    repair: Fix | None = None
    """The edits that a plan has for it: attached where they are shown, never by a rule."""
    decides: bool = True
    """Whether exit codes ask for it: not of an engine that is only told beside."""

    @property
    def fix(self) -> Fix | None:
        """The repair, or else the remedy as one that is made by hand."""
        by_hand = None if self.remedy is None else Fix(self.remedy, "display")
        return self.repair or by_hand


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Why a finding does not count."""

    by: Literal["ignore", "baseline"]
    """Whether the user ignores it for a reason, or had it before the baseline was written."""
    reason: str
    file: str
    """The file that says so."""
    until: str | None = None
    """The last day on which that holds, `YYYY-MM-DD`; None: it holds for good."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A finding that is shown and does not count."""

    finding: Finding
    acceptance: Acceptance


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What `config.json` says of the model."""

    family: str | None
    model_type: str | None
    architectures: tuple[str, ...]
    draft_class: str | None = None
    num_hidden_layers: int | None = None
    mtp_layers: int | None = None


ReportFormat = Literal["text", "json", "github", "gitlab", "sarif", "junit", "markdown", "html"]
"""How a report is written; each is a module of `mtpfix.report`."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything mtpfix has to say about one target."""

    target: Target
    model: ModelInfo
    method: str | None
    quant_files: tuple[str, ...]
    engines: tuple[EngineReport, ...]
    findings: tuple[Finding, ...]
    exit_code: int
    lines: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """File and JSON pointer -> line, for every entry that decided something."""
    notes: tuple[str, ...] = ()
    """Plain remarks for a person, such as "there is nothing to judge"."""
    draft: Target | None = None
    """What the MTP block is loaded from, if not from the target."""
    left_out: tuple[str, ...] = ()
    """Codes of findings that the user left out."""
    accepted: tuple[Accepted, ...] = ()
    """Findings that are there and do not count, each with the reason; none of them is among
    `findings`."""

    @property
    def ok(self) -> bool:
        """Whether it passes: nothing that decides is wrong, and nothing is unknown."""
        return self.exit_code == 0

    @property
    def all_findings(self) -> tuple[tuple[Finding, Acceptance | None], ...]:
        """Every finding that is shown, each with why it does not count; None: it counts."""
        accepted = ((each.finding, each.acceptance) for each in self.accepted)
        return (*((finding, None) for finding in self.findings), *accepted)

    def to_dict(self) -> dict[str, Any]:
        """Return what `--format json` writes, a document of schema `mtpfix.report/1`."""
        document: dict[str, Any] = _renderer("json").view(self)
        return document

    def render(self, form: ReportFormat = "text") -> str:
        """Return what the command line writes with `--format`, without colours.

        Raises:
            UsageError: there is no such format.
        """
        formats = get_args(ReportFormat)
        if form not in formats:
            raise UsageError(f"{form!r:.40} is no format", f"the formats are {', '.join(formats)}")
        shown: str = _renderer(form).render(self)
        return shown


def _renderer(form: str) -> ModuleType:
    """Return what writes reports: it stands above, so it is found by name, as a codec is."""
    return import_module(f"mtpfix.report.{form}")
