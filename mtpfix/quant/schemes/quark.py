"""Quark: a configuration by name of the layer, beside the one for all of them. Pure.

The first key of `layer_quant_config` that fits a name decides. So the keys of an MTP block go
behind the others, and where one of those fits first, before them. What `exclude` names is asked
before either: that is the list's part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from mtpfix.checkpoint.packing import CHANNEL
from mtpfix.checkpoint.scheme import Scheme
from mtpfix.model import Edit, Json, QuantView
from mtpfix.quant.location import escape
from mtpfix.quant.schemes import table
from mtpfix.quant.schemes.share import Block, Proposal, Share

_LAYERS = "layer_quant_config"
_SIDES = ("weight", "input_tensors")
_Config = dict[str, Json]


def proposals(block: Block) -> Iterator[Proposal]:
    """Yield what configurations by name can say of the block, the fewest edits first."""
    view = block.view
    copied = tuple(_configs(view, block.quantized, known=True))
    new = tuple(_configs(view, block.quantized, known=False))
    for number in range(len(copied[0][0].selectors) if copied else 0):
        for configs in (copied, new) if new != copied else (copied,):
            made = [
                (share, _keys(view, share.selectors[number], config)) for share, config in configs
            ]
            keys = {key: config for _, own in made for key, config in own.items()}
            schemes = tuple(dict.fromkeys(_given(share, own) for share, own in made if own))
            for first in (False, True):
                edits = tuple(_edits(view, _narrow_first(keys), first=first))
                yield Proposal(edits if keys else (), schemes, len(keys))


def _configs(
    view: QuantView, shares: Iterable[Share], *, known: bool
) -> Iterator[tuple[Share, _Config]]:
    """Yield the shares that Quark has a configuration for, with that.

    Args:
        view: the metadata.
        shares: what is stored alike.
        known: whether a configuration of the file that has the scheme already is copied.
    """
    for share in shares:
        config = None if share.scheme is None else _config(view, share.scheme, known=known)
        if config is not None:
            yield share, config


def _keys(view: QuantView, reach: Iterable[str], config: _Config) -> dict[str, _Config]:
    """Return a key for each name, or for all below a prefix, with what it says."""
    keys = [f"{name}*" if name.endswith(".") else name for name in reach]
    return {key: {**config, "output_tensors": _cache(view, key)} for key in keys}


def _given(share: Share, keys: Iterable[str]) -> str:
    listed = ", ".join(f"`{key}`" for key in keys)
    return f"{share.scheme.format if share.scheme else None}: `{_LAYERS}` for {listed}"


def _narrow_first(keys: Mapping[str, _Config]) -> dict[str, _Config]:
    """Return the keys, those that stand for a module before those that stand for many."""
    return dict(sorted(keys.items(), key=lambda item: ("*" in item[0], -len(item[0]))))


def _edits(view: QuantView, keys: Mapping[str, _Config], *, first: bool) -> Iterator[Edit]:
    """Yield the edits that add the keys behind those that are there, or before them."""
    place, old = f"{view.pointer}/{_LAYERS}", view.raw.get(_LAYERS)
    if not isinstance(old, Mapping):
        yield Edit(view.file, place, "add", dict(keys))
    elif first:
        rest = {key: config for key, config in old.items() if key not in keys}
        yield Edit(view.file, place, "add", {**keys, **rest})
    else:
        for key, config in keys.items():
            yield Edit(view.file, f"{place}/{escape(key)}", "add", config)


# --- what a configuration says ------------------------------------------------------


def _config(view: QuantView, found: Scheme, *, known: bool) -> _Config | None:
    """Return the configuration for a scheme: one that the file has, if `known`, or a new one."""
    row = _row(found)
    if row is None:
        return None
    wanted = _filled(row, found)
    same = next((config for config in _stated(view) if _says(config, wanted)), None)
    if known and same is not None:
        return {**same, "output_tensors": None}
    if any(isinstance(spec["dtype"], list) for spec in _specs(wanted["weight"])):
        return None
    return {**wanted, "output_tensors": None, "bias": None}


def _stated(view: QuantView) -> Iterator[Mapping[str, Json]]:
    """Yield the configurations of the file, that for all layers first."""
    layers = view.raw.get(_LAYERS)
    named = layers.values() if isinstance(layers, Mapping) else ()
    for config in (view.raw.get("global_quant_config"), *named):
        if isinstance(config, Mapping):
            yield config


def _filled(row: Mapping[str, Json], found: Scheme) -> _Config:
    """Return both sides of a row, with the numbers that the tensors show."""
    sides = {side: row[side] for side in _SIDES}
    if row.get("packed") and found.packing is not None:
        numbers = {"group_size": found.packing.group_size, "symmetric": found.symmetric}
        sides["weight"] = {**row["weight"], **numbers}
    return sides


def _row(found: Scheme) -> Mapping[str, Json] | None:
    """Return what is known of a scheme; None: no configuration of Quark can say it."""
    row = table.row("quark", found)
    grouped = found.packing is not None and found.packing.group_size != CHANNEL
    return row if row is not None and (grouped or not row.get("packed")) else None


def _says(config: Mapping[str, Json], wanted: Mapping[str, Json]) -> bool:
    """Return whether a configuration of the file gives modules the wanted scheme.

    Of the activations it counts whether they are scaled by a tensor: nothing else shows on disk.
    """
    weight, ours = _specs(config.get("weight")), _specs(wanted["weight"])
    if config.get("bias") or len(weight) != len(ours):
        return False
    inputs, theirs = _specs(wanted["input_tensors"]), _specs(config.get("input_tensors"))
    static = [any(not spec.get("is_dynamic") for spec in specs) for specs in (inputs, theirs)]
    return static[0] == static[1] and all(map(_alike, weight, ours))


def _specs(side: Json) -> list[Mapping[str, Json]]:
    """Return the stages of one side of a configuration; most have one, and no list around it."""
    stages = side if isinstance(side, list) else [side]
    return [spec for spec in stages if isinstance(spec, Mapping)]


def _alike(spec: Mapping[str, Json], wanted: Mapping[str, Json]) -> bool:
    """Return whether weights are stored alike."""
    dtypes = wanted["dtype"] if isinstance(wanted["dtype"], list) else [wanted["dtype"]]
    same = (spec.get(key) == wanted.get(key) for key in ("qscheme", "group_size", "block_size"))
    whole = spec.get("symmetric", True) == wanted.get("symmetric", True)
    return spec.get("dtype") in dtypes and all(same) and whole and not spec.get("is_dynamic")


def _cache(view: QuantView, key: str) -> Json:
    """Return what the file says of the KV cache of layers like `key`, as readers demand of all."""
    export, layers = view.raw.get("export"), view.raw.get(_LAYERS)
    group = export.get("kv_cache_group") if isinstance(export, Mapping) else None
    patterns = [p for p in group if isinstance(p, str)] if isinstance(group, list) else []
    if not isinstance(layers, Mapping) or not _fits(key, patterns):
        return None
    cached = (c for n, c in layers.items() if isinstance(c, Mapping) and _fits(n, patterns))
    return next((config.get("output_tensors") for config in cached), None)


def _fits(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)
