"""What can be wrong with a checkpoint: a registry of small rules, and how they are run.

Each rule looks at one release and yields findings. A finding that several
releases share is reported once, with the list of those releases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mtpfix.engines.alike import once
from mtpfix.model import GRADES, Finding, Grade, Severity
from mtpfix.rules import coverage, limits, naming, packaging, precision, presence
from mtpfix.rules.evidence import Evidence, Rule

RULES: tuple[Rule, ...] = (
    *presence.RULES,
    *naming.RULES,
    *precision.RULES,
    *limits.RULES,
    *packaging.RULES,
    *coverage.RULES,
)

_SEVERITY: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}


METHODLESS: tuple[Rule, ...] = (*presence.BY_NAME, packaging.header_disagrees)
"""Rules that hold whatever the quantization method is, and where it is not known."""


def run(evidence: Sequence[Evidence], chosen: Sequence[Rule] | None = None) -> tuple[Finding, ...]:
    """Return the findings of all releases, the gravest first, each with the releases that share it.

    What is known of one of them less well than of the others is known so of the finding.

    Args:
        evidence: one item for each release and platform.
        chosen: the rules to run; None: all.
    """
    merged: dict[Finding, list[str]] = {}
    known: dict[Finding, Grade] = {}
    rules = RULES if chosen is None else chosen

    def findings_of(item: Evidence) -> list[Finding]:
        return [item.graded(finding) for rule in rules for finding in rule(item)]

    every = once(evidence, lambda item: item.key, findings_of)
    for item, found in zip(evidence, every, strict=True):
        label = _label(item, evidence)
        for graded in found:
            finding = replace(graded, confidence="run")
            releases = merged.setdefault(finding, [])
            if label not in releases:
                releases.append(label)
            grade = known.get(finding, "run")
            known[finding] = max(grade, graded.confidence, key=GRADES.index)
    findings = [
        replace(finding, releases=tuple(releases), confidence=known[finding])
        for finding, releases in merged.items()
    ]
    return tuple(sorted(findings, key=gravity))


def gravity(finding: Finding) -> tuple[int, str]:
    """Return a key that sorts the gravest finding first."""
    return _SEVERITY[finding.severity], finding.code


def _label(item: Evidence, all_items: Sequence[Evidence]) -> str:
    """Return the release, with its platform where several are judged."""
    several = len({e.report.platform for e in all_items}) > 1
    version = item.report.version
    return f"{version} ({item.report.platform})" if several else version


def worst(findings: Iterable[Finding]) -> Severity | None:
    """The gravest severity among findings, or None if there are none."""
    return min((f.severity for f in findings), key=lambda s: _SEVERITY[s], default=None)
