"""The sums and bounds of values that have passed so far. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mtpfix.values.summary import Summary


@dataclass(slots=True)
class Moments:
    """What a `Summary` is made of; that of two parts is made of theirs.

    Attributes:
        least: the magnitude next to zero.
        total: the sum of the finite values.
        squares: the sum of their squares.
        has_means: whether these two are kept.
    """

    count: int = 0
    nans: int = 0
    infinities: int = 0
    zeros: int = 0
    subnormals: int = 0
    negatives: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf
    least: float = math.inf
    total: float = 0.0
    squares: float = 0.0
    has_means: bool = True

    def bound(self, least: float, most: float, magnitude: float | None) -> None:
        """Widen the bounds: the least value, the greatest, and the magnitude next to zero."""
        self.minimum = min(self.minimum, least)
        self.maximum = max(self.maximum, most)
        if magnitude is not None:
            self.least = min(self.least, magnitude)

    def join(self, other: Moments) -> None:
        """Add what is known of another part of the tensor."""
        self.count += other.count
        self.nans += other.nans
        self.infinities += other.infinities
        self.zeros += other.zeros
        self.subnormals += other.subnormals
        self.negatives += other.negatives
        self.bound(other.minimum, other.maximum, other.least)
        self.total += other.total
        self.squares += other.squares
        self.has_means = self.has_means and other.has_means

    def summary(self, dtype: str) -> Summary:
        """Return all of it as a record."""
        finite = self.count - self.nans - self.infinities
        means = finite if self.has_means else 0
        return Summary(
            dtype,
            self.count,
            self.nans,
            self.infinities,
            self.zeros,
            self.subnormals,
            self.negatives,
            self.minimum if finite else None,
            self.maximum if finite else None,
            None if math.isinf(self.least) else self.least,
            self.total / means if means else None,
            self.squares / means if means else None,
        )
