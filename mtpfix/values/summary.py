"""What is known of a tensor's values once all of them have passed. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts and moments of one tensor.

    `minimum` to `mean_square` are about the finite values; None where there are none. Of integers,
    which mostly are packed codes, those above 8 bits have no means; an unsigned word is looked at
    as a signed one, and a dtype of other widths than these byte by byte.

    Attributes:
        dtype: as the header spells it.
        count: number of elements; of dtypes below a byte, of bytes.
        nans: those that are not a number.
        infinities: those that are infinite.
        zeros: those that are zero, of either sign.
        subnormals: those below the smallest normal number of the dtype, without zeros.
        negatives: those below zero, with minus infinity.
        minimum: the least.
        maximum: the greatest.
        least_magnitude: the magnitude next to zero; None: there are only zeros, or longer integers.
        mean: their mean.
        mean_square: the mean of their squares.
    """

    dtype: str
    count: int
    nans: int = 0
    infinities: int = 0
    zeros: int = 0
    subnormals: int = 0
    negatives: int = 0
    minimum: float | None = None
    maximum: float | None = None
    least_magnitude: float | None = None
    mean: float | None = None
    mean_square: float | None = None

    @property
    def is_finite(self) -> bool:
        """Whether every value is a finite number."""
        return not self.nans and not self.infinities

    @property
    def is_constant(self) -> bool:
        """Whether there are values, all finite, and all the same."""
        return self.count > 0 and self.is_finite and self.minimum == self.maximum

    @property
    def is_zero(self) -> bool:
        """Whether there are values, and all of them are zero."""
        return self.count > 0 and self.zeros == self.count

    @property
    def rms(self) -> float | None:
        """The root of the mean square."""
        return None if self.mean_square is None else self.mean_square**0.5

    def share(self, number: int) -> float:
        """Return a count as a part of all values; 0 where there are none."""
        return number / self.count if self.count else 0.0
