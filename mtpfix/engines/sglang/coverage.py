"""What is covered of SGLang: family x release x method, each with its evidence. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from mtpfix.engines.coverage import Cell, Covered, Dialect
from mtpfix.engines.policies.context import Context, in_releases
from mtpfix.engines.sglang import methods, policy
from mtpfix.engines.sglang.policy import KNOWLEDGE, PLATFORMS, Policy

_ROOT = "model.decoder."
"""What the names of most drafts begin with."""


def coverage() -> tuple[Covered, ...]:
    """Return every family that has a policy."""
    return tuple(_covered(policy.policy(family)) for family in policy.families())


def dialects() -> tuple[Dialect, ...]:
    """Return every quantization method that is judged."""
    return tuple(_dialect(method) for method in methods.names())


def _dialect(name: str) -> Dialect:
    method, evidence = methods.of(name), policy.evidence()
    recorded = evidence.recorded.get(name, {})
    releases = {release for rows in recorded.values() for release in rows}
    block = method.spelling.block
    entry = method.spelling.name(_ROOT) if block is None else block(_ROOT)
    return Dialect(
        method=name,
        reads=method.compares,
        repair=f"`{entry}`",
        decisions=evidence.decisions.get(name, 0),
        families=tuple(recorded),
        releases=tuple(r for r in policy.covered_releases() if r in releases),
        proved=evidence.proved.get(name, {}),
    )


def _covered(known: Policy) -> Covered:
    cells = tuple(_cells(known))
    rows = (
        r
        for r in known.record.draft_class
        if in_releases(r.releases, cells[-1].release, policy.DEPTH)
    )
    return Covered(
        family=known.family,
        title=known.title,
        architectures=known.architectures,
        model_types=known.model_types,
        draft_classes=tuple(dict.fromkeys(row.value for row in rows))[:1],
        cells=cells,
    )


def _cells(known: Policy) -> Iterator[Cell]:
    for release in policy.covered_releases():
        if in_releases(known.record.releases, release, policy.DEPTH):
            for platform in PLATFORMS:
                context = Context(release, platform, {}, depth=policy.DEPTH)
                yield Cell(release, platform, KNOWLEDGE.grade(known, context))
