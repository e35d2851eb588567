"""For what rows of a policy are asked, and which of them hold. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

from packaging.version import Version

from mtpfix.engines.policies.condition import EVERY, Condition, specifier
from mtpfix.engines.policies.expression import Value
from mtpfix.model import Grade, Platform

MINOR = 2
"""Numbers of a version that tell releases apart where patches change nothing: 0.32."""

_Row = TypeVar("_Row", bound=Condition)


@dataclass(frozen=True, slots=True)
class Context:
    """For what a policy is asked: a release, a platform and a configuration."""

    release: str
    platform: Platform
    fields: Mapping[str, Value]
    """Fields of the (text) configuration, with the engine's defaults filled in."""
    grade: Grade = "run"
    """The evidence for what the policy says of this release and platform."""
    method: str = "compressed-tensors"
    """The quantization method that is in force."""
    depth: int = MINOR
    """How many numbers of a version tell releases apart."""

    def with_fields(self, **fields: Value) -> Context:
        """Return the same context with more fields, such as `layer`."""
        return replace(self, fields={**self.fields, **fields})


@lru_cache(maxsize=4096)
def in_releases(releases: str, release: str, depth: int = MINOR) -> bool:
    """Return whether `release` is one that a specifier speaks of.

    Args:
        releases: the specifier.
        release: the release.
        depth: how many numbers of its version count.
    """
    numbers = Version(release).release[:depth]
    return Version(".".join(map(str, numbers))) in specifier(releases)


def fits(row: Condition, context: Context) -> bool:
    """Return whether a row speaks about this release, platform, method and configuration."""
    if row.releases is not EVERY and not in_releases(row.releases, context.release, context.depth):
        return False
    if row.platforms is not None and context.platform not in row.platforms:
        return False
    if row.methods is not None and context.method not in row.methods:
        return False
    if context.method in row.except_:
        return False
    return row.when is None or bool(row.when.value(context.fields))


def fitting(rows: Iterable[_Row], context: Context) -> Iterator[_Row]:
    """Yield the rows that fit, in order."""
    return (row for row in rows if fits(row, context))


def first(rows: Iterable[_Row], context: Context) -> _Row | None:
    """Return the first row that fits, or None."""
    return next(fitting(rows, context), None)
