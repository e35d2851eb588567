"""A checkpoint that does not exist yet, by its `config.json` alone: what names it will have. Pure.

Weights are not needed: the MTP block is taken as it would be if it stayed unquantized, or were
stored in a way that is asked for, beside a target model of which every Linear is quantized.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from mtpfix.checkpoint.inventory import Inventory, written_out
from mtpfix.engines.policies import construction
from mtpfix.engines.policies.context import Context
from mtpfix.engines.vllm import metadata, methods, policy
from mtpfix.engines.vllm.case import Case
from mtpfix.engines.vllm.policy import Policy
from mtpfix.errors import UnknownError, UsageError
from mtpfix.model import Checkpoint, Json, Listing, Platform, QuantView, Target, Tensor
from mtpfix.quant import Location

_SHARD = "model.safetensors"
_PLAIN = {"weight": Tensor("BF16", (1, 1), 0, 0)}
_WIDTH = 256
"""Inputs and outputs of a layer in the ways to store one."""
_QUANTIZABLE = ("linear", "experts")


def cases(
    config: Mapping[str, Json],
    releases: Sequence[str],
    platforms: Sequence[Platform],
    method: str,
    stored: str | None = None,
) -> tuple[Case, ...]:
    """Return the cases of the checkpoint; see `Engine.imagined`."""
    return under(_view(method, config), config, releases, platforms, _layer(method, stored))


def under(
    view: QuantView,
    config: Mapping[str, Json],
    releases: Sequence[str],
    platforms: Sequence[Platform],
    layer: Mapping[str, Tensor] = MappingProxyType(_PLAIN),
) -> tuple[Case, ...]:
    """Return the same under given metadata.

    Args:
        view: the metadata.
        config: `config.json`.
        releases: releases of vLLM.
        platforms: platforms that it builds for.
        layer: the tensors of each layer of the block, by suffix.
    """
    family = policy.recognise(config)
    if family is None:
        raise UnknownError(
            f"no policy for architectures {config.get('architectures')!r:.120}",
            "see `mtpfix families` for what is covered",
        )
    known = policy.policy(family)
    on = policy.known_platforms(known, platforms)
    contexts = [
        construction.context(known, config, release, platform, view.method)
        for release in policy.known_releases(known, releases)
        for platform in on
    ]
    for context in contexts:
        construction.counts(known, context)
    inventory = Inventory(_checkpoint(known, contexts[-1], layer))
    found = tuple(Case(known, context, inventory, view=view) for context in contexts)
    if not found[0].draft or not found[0].mtp_layers:
        raise UnknownError(
            f"{known.title}: config.json declares no MTP layers, so there is nothing to name",
            "restore the MTP layer count of the original model first",
        )
    return found


def _view(method: str, config: Mapping[str, Json]) -> QuantView:
    """Return the least metadata of a method that quantizes every layer.

    Raises:
        UsageError: no entry of the method has an effect, or there is no such method.
    """
    example = policy.method(method).example if method in methods.names() else None
    if example is None:
        able = ", ".join(n for n in methods.names() if policy.method(n).example is not None)
        raise UsageError(
            f"mtpfix cannot name entries for the method {method!r:.60}", f"choose one of: {able}"
        )
    model_type = str(config.get("model_type"))
    return metadata.read(Location("config.json", "/quantization_config", example, model_type))


def _layer(method: str, stored: str | None) -> Mapping[str, Tensor]:
    """Return the tensors of a layer that is stored in one way.

    Raises:
        UsageError: the method has no such way.
    """
    if stored is None:
        return _PLAIN
    ways = policy.method(method).stored if method in methods.names() else {}
    if stored not in ways:
        able = [name for name in methods.names() if policy.method(name).stored]
        raise UsageError(
            f"mtpfix does not know how {method!r:.60} stores a block as {stored!r:.60}",
            f"choose one of: {', '.join(ways)}"
            if ways
            else f"choose a method that it knows: {', '.join(able)}",
        )
    return {name: Tensor(dtype, shape, 0, 0) for name, (dtype, shape) in ways[stored].items()}


def _checkpoint(known: Policy, context: Context, layer: Mapping[str, Tensor]) -> Checkpoint:
    """Return a quantized target model and a block of given layers, as headers only."""
    header: dict[str, Tensor] = {}
    for module in construction.modules(known, context, "trunk"):
        plain = module.kind in ("lm_head", "embedding")  # no recipe quantizes them
        for name in written_out(module):
            header[f"{name}.weight"] = Tensor("BF16" if plain else "F8_E4M3", (1, 1), 0, 0)
            if not plain:
                header[f"{name}.weight_scale"] = Tensor("BF16", (1, 1), 0, 0)
    for module in construction.modules(known, context, "draft"):
        quantized = module.kind in _QUANTIZABLE and module.asks
        for name in written_out(module):
            if f"{name}.weight" not in header:
                tensors = layer if quantized else _PLAIN
                header |= {f"{name}.{suffix}": tensor for suffix, tensor in tensors.items()}
    for each in construction.plain(known, context):
        header.setdefault(each.name, Tensor("BF16", (_WIDTH,), 0, 0))
    shards = dict.fromkeys(header, _SHARD)
    listing = Listing(Target("local", ""), (_SHARD,), {}, shards, "headers")
    return Checkpoint(listing, {_SHARD: header})
