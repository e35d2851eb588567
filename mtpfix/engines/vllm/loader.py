"""How the draft class of one release loads a checkpoint: facts of its policy, as a record. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from mtpfix.engines.policies.context import Context, first
from mtpfix.engines.policies.expression import Template
from mtpfix.engines.vllm.policy import Policy, rules
from mtpfix.engines.vllm.records.loader import (
    CacheScalesRow,
    DestinationsRow,
    LoaderRow,
    TargetLoaderRow,
)
from mtpfix.model import Kind, Precision

_UNINITIALISED = (
    "RuntimeError: Some parameters like … are not in the checkpoint "
    "and will falsely use random initialization"
)
"""Which one is named is left to the order of a set."""

_SUFFIX_ALIASES = {"": "weight", "_scale": "weight_scale", "_scale_inv": "weight_scale_inv"}
"""How stacked experts name what other modules call `weight`, `weight_scale`."""


CACHE_SCALES = frozenset(
    {f"{part}_{kind}" for part in ("k", "v", "q", "output") for kind in ("scale", "zero_point")}
    | {"kv_scale"}
)
"""Ends of names of the scales of a quantized KV cache."""

CacheScales = Literal["taken", "beside", "named"]
_Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Loader:
    """How the draft class of one release treats what does not fit."""

    style: str
    """`dict`: KeyError for a tensor without a parameter; `auto`: AutoWeightsLoader's ValueError;
    `unknown`: an exception, which one is not known."""
    root: str = ""
    """Part of the parameter path that the inner loader does not print."""
    cls: str = ""
    strict: bool = False
    """Whether a parameter that stays uninitialised is an exception."""
    unfilled: str = _UNINITIALISED
    """What is raised then."""
    unexpected: str = ""
    """What is raised for a tensor without a parameter (`{tensor}`), whatever its module."""
    skips: tuple[str, ...] = ()
    """Suffixes that are dropped where a plain linear layer has no parameter for them."""
    drops: bool = False
    """Whether every tensor without a parameter is dropped, except those of routed experts."""
    drops_experts: bool = False
    """Whether those of routed experts are dropped too."""
    takes: tuple[str, ...] = ()
    """The only suffixes that the loader has a place for; empty: it knows no such list."""
    renames: _Pairs = ()
    """Suffixes on disk that are loaded as others, for all modules but routed experts."""
    expert_renames: _Pairs = ()
    """The same for routed experts."""
    same_formats: _Pairs = ()
    """Formats on disk that such names alone tell from others, and those others."""
    missing_layer: str | None = None
    """What is raised when an MTP layer has no tensors; None: it stays uninitialised."""
    experts: str = ""
    """Name of the submodule that holds the weights of routed experts."""
    method: str = "compressed-tensors"
    """The quantization method whose classes hold the parameters."""
    gone: frozenset[str] = frozenset()
    """Suffixes that are no parameters of any module in this release."""
    unseen: frozenset[str] = frozenset()
    """Those of them that are dropped before anything is loaded."""
    paths: _Pairs = ()
    """Patterns and what they are replaced by, in order: from a name on disk to a parameter."""
    stacked: _Pairs = ()
    """Parts of names, and the parts that the loader puts in their place: of fused layers."""
    chained: bool = False
    """Whether the next part is looked for in what was put in the place of the last one."""
    own_names: bool = False
    """Whether a name stays as it is where what is put in its place leads nowhere."""
    unfused: tuple[str, ...] = ("fused_qkv_a_proj",)
    """Fused layers that a model may be built without; their parts are layers then."""
    passed_over: tuple[str, ...] = ()
    """Patterns of names that are dropped whatever the draft holds."""
    raises: tuple[tuple[str, str | None], ...] = ()
    """Patterns of names at which it fails, and how; None: how is not known."""
    inner: _Pairs = ()
    """Patterns of paths, and the class that loads what is below by itself."""
    strange_experts: bool = False
    """Whether names below routed experts that are none of theirs are dropped."""
    bare: tuple[str, ...] = ()
    """Ends of names that are dropped where the draft has no such parameter."""
    cache_scales: CacheScales = "taken"
    """What it does with scales of the KV cache at which it does not raise: `taken` or dropped;
    `beside`: taken beside an attention of the draft, else as with any name; `named`: as with any
    name."""

    def suffix(self, stored: str, kind: Kind) -> str:
        """The end of a parameter's name, for a suffix on disk of a module of some kind."""
        suffix = _SUFFIX_ALIASES.get(stored, stored)
        return dict(self.expert_renames if kind == "experts" else self.renames).get(suffix, suffix)

    def formats(self, disk: Precision) -> set[str]:
        """The formats of a module, as they are loaded; none where they are not known."""
        same = dict(self.same_formats)
        return {same.get(each, each) for each in (disk.format or "").split("+") if each}


def loader(policy: Policy, context: Context) -> Loader:
    """The loader of the draft class that `context` selects."""
    known = policy.record
    row = first(known.loader, context) or LoaderRow(style="dict")
    own = first(known.own_method, context)
    names = first(known.destinations, context) or DestinationsRow()
    cache = first(known.cache_scales, context) or CacheScalesRow(value="taken")
    auto = row.style == "auto"
    trips = not auto if row.gone is None else row.gone
    return Loader(
        style=row.style,
        root=row.root,
        cls=row.cls,
        strict=row.strict,
        unfilled=row.unfilled or _UNINITIALISED,
        unexpected=row.unexpected,
        skips=row.skips,
        drops=row.drops,
        drops_experts=row.drops_experts,
        takes=row.takes,
        renames=_filled(row.renames, context),
        expert_renames=_filled(row.expert_renames, context),
        same_formats=tuple(row.same_formats.items()),
        missing_layer=row.missing_layer,
        experts=rules("experts_param", context.release),
        method=context.method if own is None else own.method,
        gone=frozenset(rules("gone", context.release) if trips else ()),
        unseen=frozenset(() if trips else rules("gone", context.release)),
        paths=_paths(names.paths, context),
        stacked=tuple(names.stacked.items()),
        chained=names.chained,
        own_names=names.own_names,
        passed_over=(*names.drops, *_common("passed_over", names, context)),
        bare=(*names.bare, *_common("bare", names, context)),
        inner=names.inner,
        raises=(*names.raises, *_refused(cache)),
        strange_experts=auto if names.strange_experts is None else names.strange_experts,
        cache_scales=_cache_scales(cache, context),
    )


def _cache_scales(row: CacheScalesRow, context: Context) -> CacheScales:
    """What becomes of the scales of the KV cache; of a family that was never asked, nothing."""
    if row.value == "quantized":  # then the attention has parameters for them
        return "beside" if context.method else "named"
    return "named" if row.value == "named" else "taken"


def _refused(row: CacheScalesRow) -> Iterator[tuple[str, str | None]]:
    """The exception at every scale of the KV cache, as a pattern of names, where there is one."""
    if row.value == "raises":
        yield rf"\.({'|'.join(sorted(CACHE_SCALES))})$", row.error


def _common(key: str, names: DestinationsRow, context: Context) -> tuple[str, ...]:
    """What most loaders drop; a row with `common: false` says that this one does not."""
    found: tuple[str, ...] = rules(key, context.release) if names.common else ()
    return found


def _paths(pairs: Iterable[tuple[Template, Template]], context: Context) -> _Pairs:
    """Patterns and replacements; those that name a layer are written out for each."""
    layers = context.fields.get("mtp_layers")
    count = layers if isinstance(layers, int) else 1
    found: dict[tuple[str, str], None] = {}
    for old, new in pairs:
        for i in range(max(count, 1)):
            fields = {**context.fields, "i": i}
            found[old.filled(fields), new.filled(fields)] = None
    return tuple(found)


def _filled(names: Mapping[str, Template], context: Context) -> _Pairs:
    return tuple((old, new.filled(context.fields)) for old, new in names.items())


def trunk_loader(draft: Loader, context: Context, row: TargetLoaderRow | None = None) -> Loader:
    """The loader of the target class: without a row of the policy no exception is foretold.

    What the loader of the draft renames, that of the target renames too.
    """
    known = Loader("unknown", method=context.method)
    if row is not None:
        known = Loader(
            row.style,
            root="" if row.root is None else row.root.filled(context.fields),
            cls=row.cls,
            drops=row.drops,
            drops_experts=row.drops,
            experts=draft.experts,
            method=context.method,
            unseen=frozenset(rules("gone", context.release) if row.style == "auto" else ()),
        )
    return replace(
        known,
        renames=draft.renames,
        expert_renames=draft.expert_renames,
        same_formats=draft.same_formats,
    )
