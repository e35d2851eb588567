"""Which modules of the target model those of the MTP block are compared with. Pure.

An MTP block repeats a decoder layer: the module of the same name in a layer of the target model is
its sibling. One layer is enough, the middle one that has the module, and one expert for all; so few
tensors are read beside the block, and a part of a large one will do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mtpfix.checkpoint.header import BITS
from mtpfix.checkpoint.inventory import Inventory, without_expert
from mtpfix.checkpoint.precision import split_name
from mtpfix.model import Tensor

PART = 1 << 22
"""Bytes of a sibling's tensor that are read, from its middle."""

_LAYER = re.compile(r"^(.*?\.)?(\d+)\.")
_OTHER_MODALITY = re.compile(r"(^|[._])(visual|vision|vit|image|audio|speech)")


def choose_siblings(
    block: Iterable[str], trunk: Inventory, roots: tuple[str, ...]
) -> dict[str, str]:
    """Return module of the block -> module of the target model, for those that have a sibling.

    Args:
        block: names of the block's tensors.
        trunk: the target's tensors by module.
        roots: what names of MTP tensors begin with.
    """
    modules = dict.fromkeys(split_name(name)[0] for name in block)
    tails = {module: _tails(module) for module in modules}
    wanted = {tail for some in tails.values() for tail in some}
    found: dict[str, list[tuple[int, str]]] = {}
    for module in trunk.modules():
        tail = _tails(module)[0]
        ours = f"{module}.".startswith(roots)
        if tail in wanted and not ours and not _OTHER_MODALITY.search(module):
            layer = _LAYER.match(module)
            found.setdefault(tail, []).append((int(layer[2]) if layer else -1, module))
    chosen = {tail: _middle(candidates) for tail, candidates in found.items()}
    return {
        module: next(chosen[tail] for tail in some if tail in chosen)
        for module, some in tails.items()
        if not chosen.keys().isdisjoint(some)
    }


def _tails(module: str) -> tuple[str, ...]:
    """Return what names a module within its layer, and what is left without the first words.

    A block may have its layer one level deeper: `mtp.layers.0.transformer_layer.self_attn.q_proj`.
    """
    layer = _LAYER.match(module)
    tail = without_expert(module[layer.end() :]) if layer else module.rpartition(".")[2]
    words = tail.split(".")
    return tuple(".".join(words[first:]) for first in range(len(words)))


def _middle(candidates: list[tuple[int, str]]) -> str:
    """Return the first module of the middle layer."""
    layers = sorted({layer for layer, _ in candidates})
    middle = layers[len(layers) // 2]
    return min(module for layer, module in candidates if layer == middle)


def part(tensor: Tensor) -> Tensor:
    """Return the part of a sibling's tensor that is read: all of a small one, else its middle."""
    size = tensor.end - tensor.begin
    if size <= PART:
        return tensor
    begin = tensor.begin + (size - PART) // 2 // 8 * 8  # of whole elements
    elements = PART * 8 // BITS[tensor.dtype]
    return Tensor(tensor.dtype, (elements,), begin, begin + PART)


def tensors_of(siblings: Mapping[str, str], trunk: Inventory) -> tuple[str, ...]:
    """Return the names of all tensors of the siblings."""
    modules = dict.fromkeys(siblings.values())
    return tuple(name for module in modules for _, name in trunk.tensor_names(module))
