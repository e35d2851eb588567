"""Records of how the draft class of a family loads a checkpoint."""

from typing import Literal

import msgspec

from mtpfix.engines.policies.condition import Condition, Record
from mtpfix.engines.policies.expression import Template
from mtpfix.model import Consequence, Grade


class LoaderRow(Condition, frozen=True, kw_only=True):
    """What the draft's loader does with what does not fit."""

    style: Literal["dict", "auto"]
    """`dict`: KeyError for a tensor without a parameter; `auto`: the ValueError of
    `AutoWeightsLoader`."""
    root: str = ""
    """Part of the parameter path that the inner loader does not print."""
    cls: str = msgspec.field(default="", name="class")
    """The class that the exceptions name."""
    strict: bool = False
    """Whether a parameter that stays uninitialised is an exception."""
    unfilled: str | None = None
    """The exception then, where it is not the common one."""
    unexpected: str = ""
    """The exception for a tensor without a parameter (`{tensor}`), whatever its module."""
    skips: tuple[str, ...] = ()
    """Suffixes that are dropped where a plain linear layer has no parameter for them."""
    drops: bool = False
    """Whether every tensor without a parameter is dropped, except those of routed experts."""
    drops_experts: bool = False
    """Whether those of routed experts are dropped too."""
    takes: tuple[str, ...] = ()
    """The only suffixes that the loader has a place for; left out: it knows no such list."""
    renames: dict[str, Template] = {}
    """Suffixes on disk that are loaded as others, for all modules but routed experts."""
    expert_renames: dict[str, Template] = {}
    """The same for routed experts."""
    same_formats: dict[str, str] = {}
    """Formats on disk that such names alone tell from others, and those others."""
    missing_layer: str | None = None
    """The exception where an MTP layer (`{layer}`) has no tensors; left out: none."""
    gone: bool | None = None
    """Whether the loader trips over a tensor whose parameter the release has no more; left
    out: where `style` is `dict`."""


class TargetLoaderRow(Condition, frozen=True, kw_only=True):
    """What the target model's loader does with tensors that nothing takes."""

    style: Literal["dict", "auto"]
    """`dict`: KeyError for a tensor without a parameter; `auto`: the ValueError of
    `AutoWeightsLoader`."""
    root: Template | None = None
    """Part of the parameter path that the inner loader does not print."""
    cls: str = msgspec.field(default="", name="class")
    """The class that the exceptions name."""
    drops: bool = False
    """Whether it drops every tensor without a parameter."""
    experts: str | None = None
    """The exception for a name below routed experts that is none of theirs; left out: KeyError
    where `style` is `dict`, else the name is dropped."""
    fused_experts: dict[str, str] = {}
    """Names of matrices that hold all experts -> the parameters whose parts it takes such names
    for, so that an AttributeError follows."""


class DroppedPrefix(Record, frozen=True, kw_only=True):
    """The fault of a loader that drops a whole prefix of the MTP block."""

    reason: str
    """What is wrong, in a sentence for users."""
    outcome: Consequence
    """What becomes of the load."""
    good_from: str | None = None
    """The first release without the fault."""
    grade: Grade
    """The evidence: `run` (vLLM was run), `read` (in its sources) or `assumed`."""


class DestinationsRow(Condition, frozen=True, kw_only=True):
    """What the draft's loader makes of names on disk."""

    paths: tuple[tuple[Template, Template], ...] = ()
    """Regular expressions and what they are replaced by, in order: from a name on disk to a
    parameter. Those that name `{i}` are written out for each MTP layer."""
    stacked: dict[str, str] = {}
    """Part of a name -> the part of a fused layer that takes its place."""
    chained: bool = False
    """Whether the next part is looked for in what the last one made."""
    own_names: bool = False
    """Whether a name that leads nowhere so is tried as it is."""
    drops: tuple[str, ...] = ()
    """Regular expressions of names that are dropped whatever the draft holds."""
    bare: tuple[str, ...] = ()
    """Ends of names that are dropped where the draft has no such parameter."""
    common: bool = True
    """Whether it drops what most loaders drop."""
    raises: tuple[tuple[str, str | None], ...] = ()
    """Regular expressions of names at which it fails, and the exception; null: not known."""
    inner: tuple[tuple[str, str], ...] = ()
    """Regular expressions of paths, and the class that loads what is below by itself."""
    strange_experts: bool | None = None
    """Whether names below routed experts that are none of theirs are dropped; left out: where
    the `style` of the loader is `auto`."""
    fault: DroppedPrefix | None = None
    """The fault of `drops`, where they hold a whole prefix of the block."""


class CacheScalesRow(Condition, frozen=True, kw_only=True):
    """What the draft's loader does with scales of a quantized KV cache in the MTP block."""

    value: Literal["taken", "quantized", "named", "raises"]
    """`quantized`: taken beside an attention where the model is quantized; `named`: as any
    name; `raises`: it fails at them. Without a row: taken."""
    error: str | None = None
    """The exception of `raises`."""

    def __post_init__(self) -> None:
        """Refuse a failure without its exception.

        Raises:
            ValueError: there is none.
        """
        if (self.value == "raises") is (self.error is None):
            raise ValueError("`error` stands beside `raises`, and there alone")
