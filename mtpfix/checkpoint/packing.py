"""How integers are packed: how many bits each has, and how many of a row share a scale. Pure.

A layer has outputs (rows of its weight) and inputs (columns). Whatever the order in which a
format stores them, sizes are given here as outputs, then inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from mtpfix.checkpoint.precision import Tensors
from mtpfix.model import Tensor

CHANNEL = -1
"""Group size of weights that have one scale a row, as quantizers write it."""
_WORD = 32
"""Bits of the integers that weights are packed into."""
_BITS = (2, 3, 4, 5, 6, 7, 8)
_SCALES = ("weight_scale_inv", "weight_scale")
_ALIASES = {"_packed": "weight_packed", "_scale": "weight_scale"}
"""Suffixes of stacked experts, and those that other modules have in their place."""

Sizes = tuple[int, int]
"""Outputs and inputs of a stored tensor."""


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
        """Return whether a layer that is built for these numbers takes the matrix."""
        whole = {CHANNEL, self.width}
        same = self.group_size == group_size or {self.group_size, group_size} <= whole
        return self.bits == bits and same


class Clash(NamedTuple):
    """A tensor that has another size than the parameter that is built for it.

    Attributes:
        suffix: the tensor of the module.
        disk: its size.
        built: that of the parameter.
    """

    suffix: str
    disk: Sizes
    built: Sizes


def packings(tensors: Tensors) -> frozenset[Packing]:
    """Return every way in which the tensors of a module can be read as packed integers.

    Headers hold the shapes of the packed matrix and of its scales, and for most formats not the
    width of the layer: more bits in fewer words are then told from fewer bits in as many by the
    width alone, or by packed zero points.

    Args:
        tensors: suffix -> header entry of one module; without packed integers there is no way.
    """
    return frozenset(_ways(_shapes(tensors)))


def packed_clashes(
    tensors: Tensors, bits: int, group_size: int, width: int | None = None
) -> tuple[tuple[Clash, ...], ...]:
    """Return what does not fit a layer that is built for packed integers.

    Args:
        tensors: suffix -> header entry of one module.
        bits: of a weight of the built layer.
        group_size: of the built layer.
        width: the inputs of the layer, where they are known; no way to read the tensors with it
            means that it is not theirs.

    Returns:
        For every way to read the tensors the clashes, in the order of their suffixes: none where
        it fits. Without a way nothing is known.
    """
    return _packed_clashes(_shapes(tensors), bits, group_size, width)


def block_clashes(tensors: Tensors, block: Sizes) -> tuple[Clash, ...]:
    """Return what does not fit a layer that is built for FP8 in blocks.

    Args:
        tensors: suffix -> header entry of one module.
        block: outputs and inputs that share a scale of the built layer.
    """
    weight = _matrix(tensors.get("weight") or tensors.get(""))
    suffix = next((s for s in _SCALES if _matrix(tensors.get(s)) is not None), "")
    scale = _matrix(tensors.get(suffix))
    if weight is None or scale is None or min(block) < 1:
        return ()
    built = (-(-weight[0] // block[0]), -(-weight[1] // block[1]))
    return () if scale == built else (Clash(suffix, scale, built),)


def outputs(tensors: Tensors) -> int | None:
    """Return the outputs of a layer by the tensors of its module; None where they do not tell."""
    known = _stored(_shapes(tensors))
    if known is not None:
        return known.outputs
    weight = _matrix(tensors.get("weight"))
    return None if weight is None else weight[0]


class _Stored(NamedTuple):
    """Packed integers as they are stored.

    Attributes:
        sizes: of each tensor, by suffix.
        words, scales, zeros: suffixes.
        crosswise: whether the words of the weights lie along the outputs.
        outputs: of the layer.
        width: of the layer, where a tensor tells it.
    """

    sizes: Mapping[str, Sizes]
    words: str
    scales: str
    zeros: str
    crosswise: bool
    outputs: int
    width: int | None

    def ways(self) -> Iterator[Packing]:
        """Yield every way to read them."""
        groups, zeros = self.sizes[self.scales][1], self.sizes.get(self.zeros)
        for bits in _BITS:
            if zeros is not None and zeros[0] != _words(self.outputs, bits):
                continue
            for width in self._widths(bits):
                if groups == 1:
                    yield Packing(bits, CHANNEL, width)
                elif groups and width % groups == 0:
                    yield Packing(bits, width // groups, width)

    def _widths(self, bits: int) -> Iterator[int]:
        along, across = self.sizes[self.words][::-1]
        if self.crosswise:
            along, across = across, along
            if along == _words(self.outputs, bits):
                yield across
        elif self.width is not None:
            if along == _words(self.width, bits):
                yield self.width
        elif along * _WORD % bits == 0:
            yield along * _WORD // bits

    def clashes(self, width: int, bits: int, group_size: int) -> Iterator[Clash]:
        """Yield the tensors that are of another size than a built layer of some width has."""
        groups = 1 if group_size == CHANNEL else width // max(group_size, 1)
        crossed, along = (_words(self.outputs, bits), width), (self.outputs, _words(width, bits))
        built = {
            self.words: crossed if self.crosswise else along,
            self.scales: (self.outputs, groups),
            self.zeros: (_words(self.outputs, bits), groups),
        }
        for suffix, size in sorted(built.items()):
            disk = self.sizes.get(suffix, size)
            if disk != size:
                yield Clash(suffix, disk, size)


_Shapes = frozenset[tuple[str, str, tuple[int, ...]]]
"""Suffix, dtype and shape of each tensor of a module."""


def _shapes(tensors: Tensors) -> _Shapes:
    return frozenset(
        (_ALIASES.get(suffix, suffix), tensor.dtype, tensor.shape)
        for suffix, tensor in tensors.items()
        if tensor is not None
    )


@lru_cache(maxsize=4096)
def _ways(shapes: _Shapes) -> tuple[Packing, ...]:
    stored = _stored(shapes)
    return () if stored is None else tuple(stored.ways())


@lru_cache(maxsize=4096)
def _packed_clashes(
    shapes: _Shapes, bits: int, group_size: int, width: int | None
) -> tuple[tuple[Clash, ...], ...]:
    stored, ways = _stored(shapes), _ways(shapes)
    if stored is None:
        return ()
    widths = {way.width for way in ways if way.width == width} or {way.width for way in ways}
    return tuple(tuple(stored.clashes(each, bits, group_size)) for each in sorted(widths))


@lru_cache(maxsize=4096)
def _stored(shapes: _Shapes) -> _Stored | None:
    tensors = {suffix: Tensor(dtype, shape, 0, 0) for suffix, dtype, shape in shapes}
    return _compressed(tensors) or _quark(tensors) or _gptq(tensors)


def _compressed(tensors: Mapping[str, Tensor]) -> _Stored | None:
    """Return what compressed-tensors stored, as it lies there."""
    named = ("weight_packed", "weight_scale", "weight_zero_point")
    found = {name: size for name in named if (size := _matrix(tensors.get(name))) is not None}
    packed, scale = found.get(named[0]), found.get(named[1])
    if packed is None or scale is None or tensors[named[0]].dtype != "I32":
        return None
    if packed[0] != scale[0]:
        return None
    return _Stored(found, *named, False, scale[0], _length(tensors.get("weight_g_idx")))


def _quark(tensors: Mapping[str, Tensor]) -> _Stored | None:
    """Return what Quark stored: inputs first, and the words along the outputs."""
    named = ("weight", "weight_scale", "weight_zero_point")
    found = {name: size[::-1] for name in named if (size := _matrix(tensors.get(name)))}
    scale = found.get(named[1])
    if named[0] not in found or scale is None or tensors[named[0]].dtype != "I32":
        return None
    return _Stored(found, *named, True, scale[0], None)


def _gptq(tensors: Mapping[str, Tensor]) -> _Stored | None:
    """Return what GPTQ or AWQ stored: inputs first, and the words of AWQ along the outputs."""
    named = ("qweight", "scales", "qzeros")
    found = {name: size[::-1] for name in named if (size := _matrix(tensors.get(name)))}
    packed, scale = found.get(named[0]), found.get(named[1])
    if packed is None or scale is None:
        return None
    crosswise = packed[0] != scale[0]
    return _Stored(found, *named, crosswise, scale[0], _length(tensors.get("g_idx")))


def _words(values: int, bits: int) -> int:
    """Return the number of words that hold some values."""
    return -(-values * bits // _WORD)


def _length(order: Tensor | None) -> int | None:
    """Return the length of the order of a layer's inputs."""
    return order.shape[0] if order is not None and len(order.shape) == 1 else None


def _matrix(tensor: Tensor | None) -> Sizes | None:
    """Return the size of a matrix, or of each where the first of three dimensions counts them."""
    if tensor is None or len(tensor.shape) not in (2, 3):
        return None
    return tensor.shape[-2], tensor.shape[-1]
