"""How integers are packed: how many bits each has, and how many of a row share a scale. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mtpfix.checkpoint.precision import Tensors
from mtpfix.model import Tensor

CHANNEL = -1
"""Group size of weights that have one scale a row, as quantizers write it."""
_WORD = 32
"""Bits of the integers that weights are packed into."""
_BITS = (2, 3, 4, 8)


class Packing(NamedTuple):
    """One way to read a packed matrix.

    Attributes:
        bits: of one weight.
        group_size: weights of a row that share a scale; `CHANNEL`: all of them.
        width: weights of a row: the inputs of the layer.
    """

    bits: int
    group_size: int
    width: int

    def fits(self, bits: int, group_size: int) -> bool:
        """Whether a layer that is built for these numbers takes the matrix."""
        whole = {CHANNEL, self.width}
        same = self.group_size == group_size or {self.group_size, group_size} <= whole
        return self.bits == bits and same


def packings(tensors: Tensors) -> frozenset[Packing]:
    """Return every way in which the tensors of a module can be read as packed integers.

    Headers hold the shapes of the packed matrix and of its scales, and for most formats not the
    width of the layer: more bits in fewer words are then told from fewer bits in as many by the
    width alone.

    Args:
        tensors: suffix -> header entry of one module; without packed integers there is no way.
    """
    for found in (_compressed(tensors), _awq(tensors), _gptq(tensors)):
        ways = frozenset(found)
        if ways:
            return ways
    return frozenset()


def _compressed(tensors: Tensors) -> Iterator[Packing]:
    """Yield the ways of `weight_packed`: words along a row, scales along it."""
    packed, scale = _matrix(tensors, "weight_packed"), _matrix(tensors, "weight_scale")
    if packed is None or scale is None or packed.dtype != "I32":
        return
    if packed.shape[-2] == scale.shape[-2]:
        yield from _ways(packed.shape[-1], scale.shape[-1])


def _gptq(tensors: Tensors) -> Iterator[Packing]:
    """Yield the ways of `qweight` that has the words of a column below each other."""
    packed, scale = _matrix(tensors, "qweight"), _matrix(tensors, "scales")
    if packed is None or scale is None or packed.shape[-1] != scale.shape[-1]:
        return
    order = tensors.get("g_idx")
    width = None if order is None or not order.shape else order.shape[-1]
    for way in _ways(packed.shape[-2], scale.shape[-2]):
        if width in (None, way.width):
            yield way


def _awq(tensors: Tensors) -> Iterator[Packing]:
    """Yield the way of `qweight` that has the words of a row beside each other."""
    packed, scale = _matrix(tensors, "qweight"), _matrix(tensors, "scales")
    if packed is None or scale is None or packed.shape[-1] == scale.shape[-1]:
        return
    for bits in _BITS:
        if packed.shape[-1] * _WORD == scale.shape[-1] * bits:
            yield from _grouped(bits, packed.shape[-2], scale.shape[-2])


def _ways(words: int, scales: int) -> Iterator[Packing]:
    for bits in _BITS:
        if words * _WORD % bits == 0:
            yield from _grouped(bits, words * _WORD // bits, scales)


def _grouped(bits: int, width: int, scales: int) -> Iterator[Packing]:
    if scales == 1:
        yield Packing(bits, CHANNEL, width)
    elif scales and width % scales == 0:
        yield Packing(bits, width // scales, width)


def _matrix(tensors: Tensors, suffix: str) -> Tensor | None:
    """Return a tensor of two dimensions, or of three where the first counts experts."""
    found = tensors.get(suffix) or tensors.get(f"_{suffix}")
    return found if found is not None and len(found.shape) in (2, 3) else None
