"""Loads what is known about SGLang: its releases, and one policy file per model family."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

from packaging.version import Version

from mtpfix.engines import releases
from mtpfix.engines.policies import policy as policies
from mtpfix.engines.policies.context import Context, first, fitting, in_releases
from mtpfix.engines.policies.family import Index
from mtpfix.engines.policies.files import PolicyFiles
from mtpfix.engines.policies.module import Blocks, ModuleRow
from mtpfix.engines.sglang.records import (
    BreakRow,
    Evidence,
    Family,
    Faults,
    Formats,
    LimitRow,
    Releases,
    Shared,
)
from mtpfix.errors import UnknownError
from mtpfix.model import Grade, Kind, Platform

FILES = PolicyFiles("sglang")
DEPTH = 3
"""Every patch of SGLang changes something: 0.5.22 and 0.5.23 are two columns."""
DEVICES: Mapping[Platform, int] = {"cuda": 90, "cuda:10.0": 100}
"""The platforms that are known, each with its compute capability: lists of modules hang on it."""
PLATFORMS: tuple[Platform, ...] = tuple(DEVICES)


class Policy(policies.Policy[Family]):
    """What is known about one model family."""

    __slots__ = ()

    def breaks(self, context: Context) -> Iterator[BreakRow]:
        """Yield the rows that hold of what the model class fails on."""
        return fitting((row for own in self._faults(context) for row in own.breaks), context)

    def limits(self, context: Context) -> Iterator[LimitRow]:
        """Yield the rows that hold of what no metadata can fix."""
        return fitting((row for own in self._faults(context) for row in own.limits), context)

    def _faults(self, context: Context) -> Iterator[Family | Shared]:
        """Yield what has rows of faults: the family, then what it shares with others."""
        yield self.record
        yield from (_shared()[row.use] for row in fitting(self.record.faults, context))


@lru_cache(maxsize=1)
def index() -> Index:
    """Return which families there are."""
    return FILES.read("families.json", Index)


@cache
def policy(family: str) -> Policy:
    """Return the policy of a family.

    Raises:
        UnknownError: there is no such family.
    """
    head = index().families.get(family)
    if head is None:
        raise UnknownError(f"unknown family {family!r}", f"known families: {', '.join(families())}")
    record = FILES.read(f"families/{family}/policy.json", Family)
    return Policy(family, head.architectures, head.model_types, record, KNOWLEDGE)


def families() -> tuple[str, ...]:
    """Return the names of all families that have a policy, sorted."""
    return tuple(sorted(index().families))


@lru_cache(maxsize=1)
def covered_releases() -> tuple[str, ...]:
    """Return the releases that policies speak about, oldest first."""
    return FILES.read("releases.json", Releases).covered


def lacks_method(method: str, release: str) -> bool:
    """Return whether a release is known to have no quantization method of this name."""
    named = FILES.read("releases.json", Releases).methods.get(method)
    return not is_newer(release) and (named is None or not in_releases(named, release, DEPTH))


@lru_cache(maxsize=1)
def evidence() -> Evidence:
    """Return what is known by running SGLang."""
    return FILES.read("evidence.json", Evidence)


@lru_cache(maxsize=1)
def formats() -> Formats:
    """Return which suffixes modules read on disk."""
    return FILES.read("parameters.json", Formats)


def known_releases(known: Policy, wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the releases, of some, in which SGLang has a draft for a family.

    Raises:
        UnknownError: none is left.
    """
    scope = known.record.releases
    chosen = tuple(release for release in wanted if in_releases(scope, release, DEPTH))
    if not chosen:
        raise UnknownError(
            f"SGLang has no MTP draft for {known.title} in the selected releases",
            f"choose a release that matches {scope}",
            code="MTP903",
        )
    return chosen


def known_platforms(wanted: Iterable[Platform]) -> tuple[Platform, ...]:
    """Return the platforms, of some, that are known.

    Raises:
        UnknownError: none of them is.
    """
    names = tuple(wanted)
    chosen = tuple(name for name in names if name in PLATFORMS)
    if not chosen:
        raise UnknownError(
            f"SGLang is not covered on {', '.join(names)}",
            f"choose {', '.join(PLATFORMS)}",
            code="MTP903",
        )
    return chosen


def is_newer(release: str) -> bool:
    """Return whether a release is newer than all that is known: the newest rules are assumed."""
    return releases.is_newer(release, covered_releases(), DEPTH)


_CLASS_OF_KIND: Mapping[Kind, str] = {
    "lm_head": "ParallelLMHead",
    "embedding": "VocabParallelEmbedding",
    "experts": "FusedMoE",
}


class Knowledge(policies.Knowledge):
    """What is known of SGLang whatever the family."""

    depth = DEPTH

    @property
    def newest(self) -> str:
        """The newest release that is known."""
        return covered_releases()[-1]

    def block(self, name: str) -> tuple[ModuleRow, ...]:
        """Return the rows of a building block that several families share."""
        return _blocks()[name]

    def class_of(self, kind: Kind, release: str) -> str:  # noqa: ARG002 - always the same
        """Return the class of a module whose row names none."""
        return _CLASS_OF_KIND.get(kind, "")

    def grade(self, policy: policies.Policy[Any], context: Context) -> Grade:
        """Return the evidence for a family under one method, in one release."""
        if is_newer(context.release):
            return "assumed"
        known: Family = policy.record
        row = first(known.grades, context)
        if row is not None:
            return row.value
        recorded = evidence().recorded.get(context.method, {}).get(policy.family, ())
        return "run" if any(Version(r) == Version(context.release) for r in recorded) else "read"


KNOWLEDGE = Knowledge()


@lru_cache(maxsize=1)
def _blocks() -> Mapping[str, tuple[ModuleRow, ...]]:
    return FILES.read("blocks.json", Blocks).blocks


@lru_cache(maxsize=1)
def _shared() -> Mapping[str, Shared]:
    return FILES.read("faults.json", Faults).faults
