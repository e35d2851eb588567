"""A checkpoint that does not exist yet, as headers: what names it will have. Pure.

Weights are not needed: the MTP block is taken as it would be if it stayed unquantized, or were
stored in a way that is asked for, beside a target model of which every Linear is quantized.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from mtpfix.checkpoint.inventory import Inventory, written_out
from mtpfix.engines.policies import construction
from mtpfix.engines.policies.case import PolicyCase
from mtpfix.engines.policies.construction import AnyPolicy
from mtpfix.engines.policies.context import Context
from mtpfix.errors import UnknownError
from mtpfix.model import Checkpoint, Listing, Module, Target, Tensor
from mtpfix.quant.recipes import PLAIN

_SHARD = "model.safetensors"
_WIDTH = 256
"""Inputs and outputs of a layer in the ways to store one."""
_QUANTIZABLE = ("linear", "experts")
_Case = TypeVar("_Case", bound=PolicyCase)


def cases(
    known: AnyPolicy,
    contexts: Sequence[Context],
    layer: Mapping[str, Tensor],
    case: Callable[[Context, Inventory], _Case],
) -> tuple[_Case, ...]:
    """Return one case for each context.

    Args:
        known: what is known of the family.
        contexts: those of the releases and platforms that are asked, oldest first.
        layer: the tensors of each layer of the block, by suffix.
        case: makes a case of a context and of what is on disk.

    Raises:
        UnknownError: the configuration declares no MTP layer, or a number of layers that no model
            has.
    """
    for context in contexts:
        construction.counts(known, context)
    block = _inventory(known, contexts[-1], layer)
    return tuple(case(context, block) for context in contexts)


def _inventory(known: AnyPolicy, context: Context, layer: Mapping[str, Tensor]) -> Inventory:
    """Return a quantized target model and a block of given layers."""
    draft = construction.modules(known, context, "draft")
    if not draft or not construction.counts(known, context)[1]:
        raise UnknownError(
            f"{known.title}: config.json declares no MTP layers, so there is nothing to name",
            "restore the MTP layer count of the original model first",
        )
    header: dict[str, Tensor] = {}
    for module in construction.modules(known, context, "trunk"):
        plain = module.kind in ("lm_head", "embedding")  # no recipe quantizes them
        for name in written_out(module):
            header[f"{name}.weight"] = Tensor("BF16" if plain else "F8_E4M3", (1, 1), 0, 0)
            if not plain:
                header[f"{name}.weight_scale"] = Tensor("BF16", (1, 1), 0, 0)
    for module in draft:
        tensors = layer if _is_quantizable(module) else PLAIN
        for name in written_out(module):
            if f"{name}.weight" not in header:
                header |= {f"{name}.{suffix}": tensor for suffix, tensor in tensors.items()}
    for each in construction.plain(known, context):
        header.setdefault(each.name, Tensor("BF16", (_WIDTH,), 0, 0))
    shards = dict.fromkeys(header, _SHARD)
    listing = Listing(Target("local", ""), (_SHARD,), {}, shards, "headers")
    return Inventory(Checkpoint(listing, {_SHARD: header}))


def _is_quantizable(module: Module) -> bool:
    return module.kind in _QUANTIZABLE and module.asks
