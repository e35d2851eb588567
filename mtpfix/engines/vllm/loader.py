"""How the draft class of one release loads a checkpoint: facts of its policy, as a record. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mtpfix.engines.vllm.policy import Context, Policy, Row, filled, rules
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
    trunk_drops: bool = False
    """Whether the class of the target drops both."""
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
    row: Row = policy.pick("loader", context) or {"style": "dict"}
    own = policy.pick("own_method", context)
    names: Row = policy.pick("destinations", context) or {}
    cache: Row = policy.pick("cache_scales", context) or {"value": "taken"}
    return Loader(
        style=row["style"],
        root=row.get("root", ""),
        cls=row.get("class", ""),
        strict=row.get("strict", False),
        unfilled=row.get("unfilled", _UNINITIALISED),
        unexpected=row.get("unexpected", ""),
        skips=tuple(row.get("skips", ())),
        drops=row.get("drops", False),
        drops_experts=row.get("drops_experts", False),
        trunk_drops=row.get("trunk_drops", False),
        takes=tuple(row.get("takes", ())),
        renames=_filled(row.get("renames", {}), context),
        expert_renames=_filled(row.get("expert_renames", {}), context),
        same_formats=tuple(row.get("same_formats", {}).items()),
        missing_layer=row.get("missing_layer"),
        experts=rules("experts_param", context.release),
        method=context.method if own is None else own["method"],
        gone=frozenset(rules("gone", context.release) if _misses(row) else ()),
        paths=_paths(names.get("paths", ()), context),
        stacked=tuple(names.get("stacked", {}).items()),
        chained=names.get("chained", False),
        own_names=names.get("own_names", False),
        passed_over=(*names.get("drops", ()), *_common("passed_over", names, context)),
        bare=(*names.get("bare", ()), *_common("bare", names, context)),
        inner=tuple((old, new) for old, new in names.get("inner", ())),
        raises=(*((old, new) for old, new in names.get("raises", ())), *_refused(cache)),
        strange_experts=names.get("strange_experts", row["style"] == "auto"),
        cache_scales=_cache_scales(cache, context),
    )


def _cache_scales(row: Row, context: Context) -> CacheScales:
    """What becomes of the scales of the KV cache; of a family that was never asked, nothing."""
    if row["value"] == "quantized":  # then the attention has parameters for them
        return "beside" if context.method else "named"
    return "named" if row["value"] == "named" else "taken"


def _refused(row: Row) -> Iterator[tuple[str, str]]:
    """The exception at every scale of the KV cache, as a pattern of names, where there is one."""
    if row["value"] == "raises":
        yield rf"\.({'|'.join(sorted(CACHE_SCALES))})$", row["error"]


def _common(key: str, names: Row, context: Context) -> Sequence[str]:
    """What most loaders drop; a row with `common: false` says that this one does not."""
    found: Sequence[str] = rules(key, context.release) if names.get("common", True) else ()
    return found


def _paths(pairs: Iterable[Sequence[str]], context: Context) -> _Pairs:
    """Patterns and replacements; those that name a layer are written out for each."""
    layers = context.fields.get("mtp_layers")
    count = layers if isinstance(layers, int) else 1
    found: dict[tuple[str, str], None] = {}
    for pair in pairs:
        for i in range(max(count, 1)):
            old, new = (filled(text, context.with_fields(i=i)) for text in pair)
            found[old, new] = None
    return tuple(found)


def _misses(row: Row) -> bool:
    """Whether the loader trips over a tensor whose parameter is gone; automatic ones may pass."""
    found: bool = row.get("gone", row["style"] == "dict")
    return found


def _filled(names: Mapping[str, str], context: Context) -> _Pairs:
    return tuple((old, filled(new, context)) for old, new in names.items())


def trunk_loader(draft: Loader, context: Context) -> Loader:
    """The loaders of target classes are many, and not modelled: no exception is foretold.

    What the loader of the draft renames, that of the target renames too.
    """
    return replace(
        Loader("unknown", method=context.method),
        drops=draft.trunk_drops,
        drops_experts=draft.trunk_drops,
        renames=draft.renames,
        expert_renames=draft.expert_renames,
        same_formats=draft.same_formats,
    )
