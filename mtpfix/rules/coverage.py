"""MTP9xx: what is judged on less than knowledge."""

from __future__ import annotations

from collections.abc import Iterator

from mtpfix.model import Finding
from mtpfix.rules.evidence import Evidence, Rule


def newer_release(evidence: Evidence) -> Iterator[Finding]:
    """MTP903: the release is newer than all that is known."""
    case = evidence.case
    if case.is_newer:
        yield Finding(
            code="MTP903",
            severity="warning",
            confidence="assumed",
            message=f"{evidence.engine} {case.release} is newer than this mtpfix, which knows "
            f"releases up to {case.engine.releases[-1]}: it is judged as if nothing had changed "
            "since. "
            f"Update mtpfix, or ask that {evidence.engine} itself with `mtpfix verify`.",
        )


RULES: tuple[Rule, ...] = (newer_release,)
