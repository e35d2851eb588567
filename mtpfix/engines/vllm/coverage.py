"""What is covered of vLLM: family x release x platform x method, each with its evidence. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from mtpfix.engines.coverage import Cell, Covered, Dialect
from mtpfix.engines.policies.context import Context, in_releases
from mtpfix.engines.vllm import methods, policy
from mtpfix.engines.vllm.policy import PLATFORMS, Policy

METHODS = methods.names()
"""Quantization methods that are judged, all of them for every family."""


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
