"""Tensors whose values were read, grouped by module. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from mtpfix.checkpoint.precision import joined_name, precision, split_name
from mtpfix.model import Precision, State, Tensor
from mtpfix.values.summary import Summary


class Scanned(NamedTuple):
    """One tensor: its entry in the header, of the whole tensor, and what its values are."""

    tensor: Tensor
    summary: Summary


WEIGHTS = ("weight", "weight_packed", "qweight", "", "_packed", "_blocks", "_weight_packed")
"""Suffixes of what holds a module's weights, or codes of them."""
FACTORS = {
    **dict.fromkeys(("weight_scale", "weight_scale_inv", "weight_scale_2", "scales", "scale"), 1),
    **dict.fromkeys(("_scale", "_scale_inv", "_scales", "_weight_scale", "_weight_scale_inv"), 1),
    "_weight_scale_2": 1,
    "weight_global_scale": -1,
}
"""Suffix of a scale of weights -> the power of it that the codes are multiplied with."""
OTHER_SCALES = frozenset(
    {
        *("input_scale", "input_scale_2", "input_global_scale", "_input_scale", "output_scale"),
        *("k_scale", "v_scale", "q_scale", "prob_scale", "weight.absmax", "SCB"),
    }
)
"""Suffixes of scales that are not those of weights, or that the codes are not multiplied with."""
CACHE_SCALES = frozenset({"k_scale", "v_scale", "q_scale", "prob_scale"})
_FP8 = ("F8_E4M3", "F8_E5M2")
_FP4_RMS = 3.0
"""Of FP4 codes: the greatest of a group is 6, which is twice the deviation of 16 normal values."""
_INT_DEVIATIONS = 2.7
"""Of a group of 128 integer codes, the greatest is so many deviations from zero."""
LEAST = 256
"""Elements of the smallest tensor that is taken for a weight matrix."""


@dataclass(frozen=True)
class ScannedModule:
    """The tensors of one module by their suffixes."""

    name: str
    parts: Mapping[str, Scanned]

    @property
    def state(self) -> State:
        """Whether it is quantized."""
        return self._precision.state

    @property
    def format(self) -> str | None:
        """In which format it is stored."""
        return self._precision.format

    @property
    def _precision(self) -> Precision:
        return precision({suffix: one.tensor for suffix, one in self.parts.items()})

    @property
    def weight(self) -> Scanned | None:
        """The tensor of its weights, or of the codes of them."""
        return next((self.parts[s] for s in WEIGHTS if s in self.parts), None)

    @property
    def is_matrix(self) -> bool:
        """Whether it has a weight of two dimensions or more, and not a tiny one."""
        weight = self.weight
        return (
            weight is not None
            and weight.summary.count >= LEAST
            and sum(size > 1 for size in weight.tensor.shape) > 1
        )

    @property
    def is_norm(self) -> bool:
        """Whether it is a norm with one weight for each channel."""
        weight = self.weight
        last = self.name.rpartition(".")[2]
        return weight is not None and len(weight.tensor.shape) == 1 and "norm" in last

    def scales(self) -> Iterable[tuple[str, Scanned]]:
        """Yield suffix and tensor of every scale; that of weights only where they are quantized."""
        for suffix, one in self.parts.items():
            if suffix in OTHER_SCALES or (
                suffix in FACTORS and self.state is not State.UNQUANTIZED
            ):
                yield suffix, one

    def tensor_name(self, suffix: str) -> str:
        """Return the name of one of its tensors."""
        return joined_name(self.name, suffix)

    @property
    def codes(self) -> float | None:
        """The root mean square of its codes, or of its weights where it is not quantized.

        That of packed codes is what a quantizer makes of values that are normally distributed.
        """
        weight = self.weight
        if weight is None:
            return None
        if self.state is State.UNQUANTIZED or weight.tensor.dtype in (*_FP8, "I8"):
            return weight.summary.rms
        if self.format is not None and "fp4" in self.format:
            return _FP4_RMS
        bits = self._bits(weight)
        return None if bits is None else (2 ** (bits - 1) - 0.5) / _INT_DEVIATIONS

    def _bits(self, weight: Scanned) -> float | None:
        """Return the bits of one code in words of 32, where something tells how many there are."""
        if self.format == "awq":
            return 4
        shape = self.parts.get("weight_shape")
        if shape is None or shape.summary.count != 2:  # noqa: PLR2004 - rows and columns
            return None
        elements = (shape.summary.minimum or 0) * (shape.summary.maximum or 0)
        bits = 32 * prod(weight.tensor.shape) / elements if elements else 0
        return bits if 2 <= bits <= 8 else None  # noqa: PLR2004

    @property
    def factor(self) -> float | None:
        """What codes are multiplied with, on the average; None: a scale has no use."""
        product = 1.0
        for suffix, one in self.parts.items():
            power = FACTORS.get(suffix)
            if power is None or self.state is State.UNQUANTIZED:
                continue
            size = _size(one)
            if not size:
                return None
            product *= size**power
        return product

    @property
    def magnitude(self) -> float | None:
        """About the root mean square of its weights; None where that is not known, or zero."""
        codes, factor = self.codes, self.factor
        if not codes or factor is None:
            return None
        found = codes * factor
        return found if 0 < found < float("inf") else None


def _size(scale: Scanned) -> float | None:
    """Return the root mean square of a scale; of exponents in plain bytes, the middle power."""
    summary = scale.summary
    if scale.tensor.dtype == "U8":
        return None if summary.mean is None else 2.0 ** (summary.mean - 127)
    return summary.rms


def by_module(tensors: Mapping[str, Scanned]) -> dict[str, ScannedModule]:
    """Return module name -> its tensors."""
    found: dict[str, dict[str, Scanned]] = {}
    for name, one in tensors.items():
        module, suffix = split_name(name)
        found.setdefault(module, {})[suffix] = one
    return {name: ScannedModule(name, parts) for name, parts in found.items()}
