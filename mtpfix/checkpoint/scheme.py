"""How the weights of a module are quantized, in numbers: told from its tensors alone. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from mtpfix.checkpoint.packing import CHANNEL, Packing, packings
from mtpfix.checkpoint.precision import Tensors, precision
from mtpfix.model import State, Tensor

_ABOUT_INPUTS = frozenset({"input_scale", "input_global_scale", "input_zero_point"})
_PAIR = 2


class Numbers(NamedTuple):
    """Bits of a packed integer, and how many of a row share a scale; `CHANNEL`: all of them."""

    bits: int
    group_size: int


class Scheme(NamedTuple):
    """How the weights of a module are quantized.

    Attributes:
        format: a name from `data/formats.json`.
        packing: bits and group size of packed integers; None: the format has none, or they cannot
            be told.
        block: rows and columns that share a scale; None: no block has one.
        symmetric: whether there are no zero points.
        ordered: whether the columns are in another order than those of the layer.
        inputs: suffixes of the tensors that say how activations are quantized.
    """

    format: str
    packing: Numbers | None = None
    block: tuple[int, int] | None = None
    symmetric: bool = True
    ordered: bool = False
    inputs: frozenset[str] = frozenset()


def likely_packings(tensors: Tensors, inputs: int | None) -> frozenset[Packing]:
    """Return the ways to read packed integers, of a known width where there is one.

    Args:
        tensors: suffix -> header entry of the module.
        inputs: of the layer, where they are known.
    """
    ways = packings(tensors)
    return frozenset(way for way in ways if way.width == inputs) or ways


def _packing(
    ways: Collection[Packing], widths: Collection[int], usual: Mapping[Numbers, int]
) -> Packing | None:
    """Return how the integers of a module are packed; None: not at all, or it cannot be told.

    Of two ways to read a module the one counts that is more usual, then that of a known width.
    """
    if not ways:
        return None

    def rank(way: Packing) -> tuple[int, bool]:
        return usual.get(Numbers(way.bits, way.group_size), 0), way.width in widths

    best = max(map(rank, ways))
    chosen = [way for way in ways if rank(way) == best]
    return chosen[0] if len(chosen) == 1 else None


def scheme(
    tensors: Tensors,
    widths: Collection[int] = (),
    usual: Mapping[Numbers, int] = MappingProxyType({}),
    inputs: int | None = None,
) -> Scheme | None:
    """Return how a module is quantized; None: it is not, or its tensors do not tell.

    Args:
        tensors: suffix -> header entry of the module.
        widths: inputs that layers of this model are known to have.
        usual: how many modules of the model have such an input if they are read by some numbers.
            A row that is one group of such numbers has the same, and not those of a channel.
        inputs: of the module, where they are known.
    """
    found = precision(tensors)
    if found.state is not State.QUANTIZED or found.format is None:
        return None
    return Scheme(
        format=found.format,
        packing=_numbers(_packing(likely_packings(tensors, inputs), widths, usual), usual),
        block=_block(tensors) if found.format == "fp8-block" else None,
        symmetric=tensors.keys().isdisjoint({"weight_zero_point", "qzeros"}),
        ordered=not tensors.keys().isdisjoint({"weight_g_idx", "g_idx"}),
        inputs=about_inputs(tensors),
    )


def about_inputs(suffixes: Iterable[str]) -> frozenset[str]:
    """Return those of a module's suffixes whose tensors say how activations are quantized."""
    return _ABOUT_INPUTS.intersection(suffixes)


def _numbers(found: Packing | None, usual: Collection[Numbers]) -> Numbers | None:
    """Return bits and group size, without the width, which differs from layer to layer."""
    if found is None:
        return None
    whole = Numbers(found.bits, found.width)
    alike = found.group_size == CHANNEL and whole in usual
    return whole if alike else Numbers(found.bits, found.group_size)


def _block(tensors: Tensors) -> tuple[int, int] | None:
    """Return rows and columns that share a scale: the powers of two that fit the shapes.

    A matrix that is no multiple of its blocks has a last one that is cut.
    """
    weight = tensors.get("weight")
    scale = tensors.get("weight_scale_inv") or tensors.get("weight_scale") or tensors.get("scale")
    if weight is None or scale is None:
        return None
    sides, parts = _sides(weight), _sides(scale)
    if sides is None or parts is None:
        return None
    return _side(sides[0], parts[0]), _side(sides[1], parts[1])


def _sides(tensor: Tensor) -> tuple[int, int] | None:
    """Return rows and columns; of four dimensions, as some scales have, every second counts."""
    shape = tensor.shape[::2] if len(tensor.shape) == 2 * _PAIR else tensor.shape[-_PAIR:]
    return (shape[0], shape[1]) if len(shape) == _PAIR else None


_BLOCK = 128
"""Rows and columns of the blocks that published checkpoints have."""


def _side(whole: int, parts: int) -> int:
    """Return how many rows, or columns, a block has: 128 wherever the shapes allow it."""
    sizes = (_BLOCK, 64, 32, 16, 256, 512)
    return next((size for size in sizes if -(-whole // size) == parts), _BLOCK)
