"""MTP9xx: what is judged on less than knowledge."""

from __future__ import annotations

from collections.abc import Iterator

from mtpfix.engines.vllm.policy import covered_releases, is_newer
from mtpfix.model import Finding
from mtpfix.rules.evidence import Evidence, Rule


def newer_release(evidence: Evidence) -> Iterator[Finding]:
    """MTP903: the release is newer than all that is known."""
    release = evidence.case.context.release
    if is_newer(release):
        yield Finding(
            code="MTP903",
            severity="warning",
            confidence="assumed",
            message=f"vLLM {release} is newer than this mtpfix, which knows releases up to "
            f"{covered_releases()[-1]}: judged as if nothing had changed since. Look for a newer "
            "mtpfix, or ask that vLLM with `mtpfix verify`.",
        )


RULES: tuple[Rule, ...] = (newer_release,)
