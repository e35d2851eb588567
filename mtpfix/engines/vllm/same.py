"""Keys of caches for what is large, and made once: compared by identity, not by content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, eq=False)
class Same(Generic[_T]):
    """A value that equals itself alone. It is kept alive, so nothing else has its identity."""

    value: _T

    def __eq__(self, other: object) -> bool:
        """Return whether the other holds the very same object."""
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        """Return the hash of the identity."""
        return id(self.value)
