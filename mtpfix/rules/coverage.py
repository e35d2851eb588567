"""MTP9xx: what is judged on less than knowledge."""

from __future__ import annotations

from collections.abc import Iterator

from mtpfix.engines.base import Engine
from mtpfix.model import Finding
from mtpfix.rules.evidence import Evidence, Rule


def newer_release(evidence: Evidence) -> Iterator[Finding]:
    """MTP903: the release is newer than all that is known."""
    if evidence.case.is_newer:
        yield newer(evidence.case.engine, evidence.case.release)


def newer(engine: Engine, release: str) -> Finding:
    """Return the finding that a release is judged by the facts of an older one."""
    return Finding(
        code="MTP903",
        severity="warning",
        confidence="assumed",
        message=f"{engine.title} {release} is newer than this mtpfix, which knows "
        f"releases up to {engine.releases[-1]}: it is judged as if nothing had changed "
        "since. "
        f"Update mtpfix, or ask that {engine.title} itself with `mtpfix verify`.",
    )


RULES: tuple[Rule, ...] = (newer_release,)
