"""What a finding is about, by which it is told again: not its text, not its line. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import PurePath
from typing import Literal, NamedTuple, get_args

from mtpfix.engines import registry
from mtpfix.model import Finding, Report, Target

Kind = Literal["modules", "entries", "files"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Subject(NamedTuple):
    """What a finding is about: modules, or else entries, or else a file.

    Attributes:
        kind: which of them. names: sorted, each once; none where it is about the whole target.
    """

    kind: Kind
    names: tuple[str, ...]


def subject(finding: Finding) -> Subject:
    """Return what a finding is about."""
    if finding.modules:
        return Subject("modules", _sorted(finding.modules))
    if finding.entries:
        return Subject("entries", _sorted(finding.entries))
    return Subject("files", () if finding.where is None else (finding.where.file,))


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


def engines(finding: Finding, report: Report) -> tuple[str | None, ...]:
    """Return the engines whose releases a finding names; None: it depends on no engine."""
    judged = tuple(dict.fromkeys(engine.engine for engine in report.engines))
    if not finding.releases or not judged:
        return (None,)
    if len(judged) == 1:
        return judged
    named = {name: f"{registry.engine(name).title} " for name in judged}
    return tuple(n for n in judged if any(r.startswith(named[n]) for r in finding.releases))


def repo(target: Target) -> str:
    """Return what a target is called in files that outlive a run: no revision, one spelling."""
    return target.name if target.kind == "hub" else PurePath(target.name).as_posix()


def fingerprint(finding: Finding, *more: str) -> str:
    """Return what stays the same when lines move, texts change and releases come.

    Args:
        finding: what is told.
        more: what else tells it from others.
    """
    kind, names = subject(finding)
    told = json.dumps([finding.code, kind, *names, *more]).encode()
    return hashlib.sha256(told).hexdigest()[:32]


def fingerprints(findings: Iterable[Finding], *more: str) -> list[str]:
    """Return the fingerprints of the findings of one target; those that are alike are numbered."""
    seen: dict[str, int] = {}
    made = []
    for finding in findings:
        own = fingerprint(finding, *more)
        seen[own] = number = seen.get(own, 0) + 1
        made.append(own if number == 1 else fingerprint(finding, *more, str(number)))
    return made
