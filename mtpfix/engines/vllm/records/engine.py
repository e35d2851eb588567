"""The records of what is known of vLLM whatever the family: releases, rules, drafts, evidence."""

from typing import Literal

import msgspec

from mtpfix.engines.policies.condition import ByRelease, File, Record, Releases, every
from mtpfix.model import Grade


class Yes(ByRelease, frozen=True, kw_only=True):
    """A rule that holds or not."""

    value: bool
    """Whether it holds."""


class One(ByRelease, frozen=True, kw_only=True):
    """A rule that is a text."""

    value: str
    """The text."""


class Some(ByRelease, frozen=True, kw_only=True):
    """A rule that is a list."""

    value: tuple[str, ...]
    """The list."""


class NoTarget(ByRelease, frozen=True, kw_only=True):
    """What becomes of a layer that no target fits."""

    value: Literal["unquantized", "error"]
    """It stays unquantized, or is refused."""


class Rules(Record, frozen=True, kw_only=True):
    """Rules of vLLM itself; of each the first row that holds for a release counts."""

    passed_over: tuple[Some, ...]
    """Patterns of names that every loader drops."""
    bare: tuple[Some, ...]
    """Ends of names that every loader drops where the draft has no such parameter."""
    untouched: tuple[One, ...]
    """The exception for parameters that no tensor was loaded into."""
    auto_round_suffixes: tuple[Yes, ...]
    """auto-round: whether a key fits names that end in it, after a dot."""
    auto_round_explicit: tuple[Yes, ...]
    """auto-round: whether shards are only asked about where a key speaks of one of them."""
    quark_children: tuple[Yes, ...]
    """Quark: whether an entry below routed experts exempts them all."""
    quark_types_first: tuple[Yes, ...]
    """Quark: whether the configurations by type are looked at before those by name."""
    quark_hashes: tuple[Yes, ...]
    """Quark: whether shards whose configurations hold lists cannot be compared."""
    quark_unwraps: tuple[Yes, ...]
    """Quark: whether a list of one configuration stands for that configuration."""
    quark_online: tuple[Some, ...]
    """Quark: model types whose exempt attention is quantized online where the weights are fp4."""
    humming_patterns: tuple[Yes, ...]
    """Humming: whether entries that begin with `re:` are patterns."""
    fused_name_first: tuple[Yes, ...]
    """compressed-tensors: whether any entry that matches the fused name ignores the layer."""
    shards_differ: tuple[One, ...]
    """compressed-tensors: the exception where only some shards of a fused layer are ignored."""
    skips_fused_name: tuple[Yes, ...]
    """Lists of skipped layers: whether an entry that matches the fused name skips it."""
    empty_list_is_all: tuple[Yes, ...]
    """GPTQ: whether everything is quantized without a list and without headers."""
    gone: tuple[Some, ...]
    """Suffixes that are no parameters of any module."""
    marlin_pads_experts: tuple[Yes, ...]
    """Whether experts whose width is no multiple of 64 are padded."""
    mixed_wrappers: tuple[Yes, ...]
    """Mixed precision of ModelOpt: whether a key may have the prefix of another wrapper."""
    mixed_beside_experts: tuple[Yes, ...]
    """Mixed precision of ModelOpt: whether a key beside routed experts speaks of them."""
    mixed_fuses: tuple[Yes, ...]
    """Mixed precision of ModelOpt: whether the usual shards are tried where no mapping has any."""
    modelopt_spares: tuple[Some, ...]
    """ModelOpt: parts of names of the modules that stay unquantized whatever the list says."""
    no_target: tuple[NoTarget, ...]
    """compressed-tensors: what becomes of a layer that no target fits."""
    shards_before_class: tuple[Yes, ...]
    """compressed-tensors: whether targets are tried by shards before the class name."""
    experts_target: tuple[One, ...]
    """compressed-tensors: the class name that routed experts are targeted by."""
    experts_class: tuple[One, ...]
    """Class of routed experts."""
    experts_param: tuple[One, ...]
    """Name of the submodule that holds the weights of routed experts."""
    embedding_asks_scheme: tuple[Yes, ...]
    """compressed-tensors: whether embeddings ask for a scheme."""


class Engine(File, frozen=True, kw_only=True):
    """`releases.json`: the releases of vLLM and its rules."""

    covered: tuple[str, ...]
    """The releases that policies speak about, oldest first, one a minor version."""
    methods: dict[str, Releases]
    """Quantization methods -> the releases that have them (`QUANTIZATION_METHODS`)."""
    rules: Rules
    """Rules of vLLM itself, by release."""


class OtherDraftRow(Record, frozen=True, kw_only=True):
    """A draft that is not MTP."""

    method: str
    """What `--speculative-config` of vLLM calls it."""
    title: str
    """As people call it."""
    releases: Releases = msgspec.field(default_factory=every)
    """The releases of vLLM that can serve it."""
    architectures: tuple[str, ...]
    """Architectures of a draft in a repo of its own."""
    by_target: tuple[str, ...] = ()
    """Those of them that are quantized as the target's metadata say, not by their own."""
    plain: bool = False
    """Whether vLLM builds it unquantized, whatever metadata say."""
    markers: tuple[str, ...] = ()
    """Parts of tensor names that no MTP block has."""


class OtherDrafts(File, frozen=True, kw_only=True):
    """`drafts.json`: drafts that are not MTP."""

    drafts: tuple[OtherDraftRow, ...]
    """The drafts."""


class UndraftedRow(Record, frozen=True, kw_only=True):
    """Models of which vLLM makes a draft, and for which there is no policy."""

    names: tuple[str, ...]
    """Architectures and model types."""
    keys: tuple[str, ...] = ()
    """Keys of `config.json` that tell such a model."""
    releases: Releases = msgspec.field(default_factory=every)
    """The releases in which vLLM makes the draft."""
    grade: Grade
    """The evidence: `run` (vLLM was run) or `read` (in its sources)."""
    reason: str
    """Why there is no policy, in a sentence for users."""


class Undrafted(File, frozen=True, kw_only=True):
    """`undrafted.json`: models without a policy, and why."""

    rows: tuple[UndraftedRow, ...]
    """The models."""


class UndeclaredBlock(ByRelease, frozen=True, kw_only=True):
    """What the target model makes of an MTP block on disk where no MTP layer is declared."""

    families: tuple[str, ...]
    """The families."""
    error: str | None = None
    """The exception that ends its load; left out: its loader drops the tensors."""


class UndeclaredBlocks(File, frozen=True, kw_only=True):
    """`undeclared.json`: MTP blocks of which `config.json` says nothing.

    Of a family without a row, what becomes of one is not known.
    """

    rows: tuple[UndeclaredBlock, ...]
    """The families; the first row that holds counts."""


class Evidence(File, frozen=True, kw_only=True):
    """`evidence.json`: what is known by running vLLM, by quantization method."""

    decisions: dict[str, int]
    """How many decisions are recorded."""
    recorded: dict[str, dict[str, tuple[str, ...]]]
    """Family -> the releases whose decisions are recorded."""
    proved: dict[str, dict[str, tuple[str, ...]]]
    """Recipe -> the families whose repaired checkpoints vLLM has loaded."""
