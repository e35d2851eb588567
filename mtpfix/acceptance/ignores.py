"""Findings that are ignored for a reason, until a day where one is given. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from pathlib import PurePath

from mtpfix.model import Acceptance, Accepted, Finding


@dataclass(frozen=True, slots=True)
class Ignore:
    """One table of `[[ignore]]`.

    Attributes:
        code: the code of the findings. reason: why they do not count.
        file: where the table stands. repo: pattern of the targets; None: all.
        module: pattern of the modules; None: all. entry: the entry; None: all.
        until: the last day on which it holds; None: it holds for good.
    """

    code: str
    reason: str
    file: str
    repo: str | None = None
    module: str | None = None
    entry: str | None = None
    until: date | None = None

    def is_over(self, today: date) -> bool:
        """Whether it does not hold any more."""
        return self.until is not None and self.until < today

    def is_for(self, repo: str) -> bool:
        """Whether it speaks of a target."""
        return self.repo is None or fnmatchcase(repo, self.repo)

    def covers(self, finding: Finding, repo: str) -> list[str] | None:
        """Return the modules, or else the entries, of a finding that it speaks of; None: nothing.

        A finding is about modules, about entries, or about the target as a whole.
        """
        if finding.code != self.code or not self.is_for(repo):
            return None
        if self.module is not None:
            pattern = self.module
            return [name for name in finding.modules if fnmatchcase(name, pattern)] or None
        if self.entry is not None:
            return [self.entry] if self.entry in finding.entries else None
        return list(finding.modules or finding.entries)

    def __str__(self) -> str:
        about = (("repo", self.repo), ("module", self.module), ("entry", self.entry))
        told = [f"{key} `{value}`" for key, value in about if value is not None]
        return f"{self.file}: the ignore of {' '.join([self.code, *told])} ({self.reason})"


@dataclass(frozen=True, slots=True)
class Judged:
    """The findings of one target, after the ignores."""

    counted: tuple[Finding, ...]
    accepted: tuple[Accepted, ...]
    notes: tuple[str, ...]
    """What a person has to know of ignores that ended, or that cover a part only."""


def judge(findings: Iterable[Finding], ignores: Sequence[Ignore], repo: str, today: date) -> Judged:
    """Return which findings of a target count.

    One that is about several modules is ignored where every one of them is: by one table or by
    several.
    """
    counted: list[Finding] = []
    accepted: list[Accepted] = []
    notes: dict[str, None] = {}
    for finding in findings:
        touching = {
            each: names for each in ignores if (names := each.covers(finding, repo)) is not None
        }
        holding = [each for each in touching if not each.is_over(today)]
        covered = {name for each in holding for name in touching[each]}
        left = [name for name in finding.modules or finding.entries if name not in covered]
        if holding and not left:
            accepted.append(Accepted(finding, _acceptance(holding)))
            continue
        counted.append(finding)
        notes |= dict.fromkeys(_partly(each, left) for each in holding)
        over = (each for each in touching if each.is_over(today))
        notes |= dict.fromkeys(f"{each} ended on {each.until}: the finding counts" for each in over)
    return Judged(tuple(counted), tuple(accepted), tuple(notes))


def _partly(ignore: Ignore, left: Sequence[str]) -> str:
    shown = f"`{left[0]}`" + (f" and {len(left) - 1} more" if len(left) > 1 else "")
    return f"{ignore} does not cover all of the finding, which counts: {shown}"


def _acceptance(holding: Sequence[Ignore]) -> Acceptance:
    """Return why a finding is ignored; of several tables the first day to end counts."""
    reasons = dict.fromkeys(each.reason for each in holding)
    days = [each.until for each in holding if each.until is not None]
    until = min(days).isoformat() if days else None
    return Acceptance("ignore", "; ".join(reasons), holding[0].file, until)


def idle(
    ignores: Iterable[Ignore], found: Sequence[tuple[str, Sequence[Finding]]], today: date
) -> Iterator[str]:
    """Say which ignores matched nothing in a run.

    Args:
        ignores: what the user ignores.
        found: every target of the run, with all of its findings.
        today: what ended before it is told as such.
    """
    several = len(found) > 1
    for each in ignores:
        fitting = [(repo, findings) for repo, findings in found if each.is_for(repo)]
        if any(each.covers(f, repo) is not None for repo, findings in fitting for f in findings):
            continue
        over = f"ended on {each.until} and " if each.is_over(today) else ""
        if fitting:
            yield f"{each} {over}matched nothing: take it out"
        elif several:
            yield f"{each} is for no target of this run"
        elif any(PurePath(repo).name == PurePath(each.repo or "").name for repo, _ in found):
            yield f"{each} is not for {found[0][0]}: `repo` is compared with what was typed"
