"""What is covered: family x release x platform x method, each with its evidence. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mtpfix.engines.vllm import methods, policy
from mtpfix.engines.vllm.policy import Context, Policy, in_releases
from mtpfix.model import PLATFORMS, Grade, Platform

METHODS = methods.names()
"""Quantization methods that are judged, all of them for every family."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One quantization method.

    Attributes:
        method: its name, as the metadata or the engine has it.
        reads: where its metadata stands. repair: the entries that are written, or why none.
        decisions: how many decisions of real releases are recorded, and all foreseen.
        families, releases: of those recordings, the releases oldest first.
        proved: recipe -> the families whose repaired checkpoints a real vLLM has loaded.
        unproved: why no repair is loaded, where there is a reason; else empty.
    """

    method: str
    reads: str
    repair: str
    decisions: int
    families: tuple[str, ...]
    releases: tuple[str, ...]
    proved: Mapping[str, tuple[str, ...]]
    unproved: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """The evidence for one release on one platform."""

    release: str
    platform: Platform
    grade: Grade


@dataclass(frozen=True, slots=True)
class Covered:
    """One family.

    Attributes:
        family: its name here. title: as people call it.
        architectures, model_types: what `config.json` may name.
        draft_classes: what the newest release may build.
        cells: every release and platform in which vLLM has a draft, oldest first.
    """

    family: str
    title: str
    architectures: tuple[str, ...]
    model_types: tuple[str, ...]
    draft_classes: tuple[str, ...]
    cells: tuple[Cell, ...]

    def grade(self, release: str, platform: Platform) -> Grade | None:
        """The evidence, or None where vLLM has no draft."""
        found = (c.grade for c in self.cells if (c.release, c.platform) == (release, platform))
        return next(found, None)

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms on which some release has a draft."""
        return tuple(p for p in PLATFORMS if any(cell.platform == p for cell in self.cells))


def coverage() -> tuple[Covered, ...]:
    """Every family that has a policy."""
    return tuple(_covered(policy.policy(family)) for family in policy.families())


def dialects() -> tuple[Dialect, ...]:
    """Every quantization method that is judged."""
    return tuple(_dialect(method) for method in METHODS)


def _dialect(method: str) -> Dialect:
    words, evidence = policy.method(method), policy.evidence()
    recorded = evidence.recorded.get(method, {})
    releases = {release for rows in recorded.values() for release in rows}
    proved = evidence.proved.get(method, {})
    return Dialect(
        method=method,
        reads=words.reads,
        repair=words.repair,
        decisions=evidence.decisions.get(method, 0),
        families=tuple(recorded),
        releases=tuple(r for r in policy.covered_releases() if r in releases),
        proved=proved,
        unproved=words.unproved,
    )


def _covered(known: Policy) -> Covered:
    cells = tuple(_cells(known))
    return Covered(
        family=known.family,
        title=known.title,
        architectures=known.architectures,
        model_types=known.model_types,
        draft_classes=_draft_classes(known, cells[-1].release),
        cells=cells,
    )


def _cells(known: Policy) -> Iterator[Cell]:
    for release in policy.covered_releases():
        for platform in PLATFORMS:
            if policy.has_draft(known, release, platform):
                grade = policy.grade(known, Context(release, platform, {}))
                yield Cell(release, platform, grade)


def _draft_classes(known: Policy, release: str) -> tuple[str, ...]:
    """What `release` may build; a row for every configuration and platform ends the list."""
    found: dict[str, None] = {}
    for row in known.record.draft_class:
        if in_releases(row.releases, release):
            found[row.value] = None
            if row.when is None and row.platforms is None:
                break
    return tuple(found)
