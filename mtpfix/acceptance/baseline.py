"""Findings that a project had before: a document of them, and what is new or gone. Pure.

A row holds the code, the repo and the engine, and names what findings are about. A finding is known
where rows name all of it, so that it stays known when findings are grouped otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from mtpfix.acceptance import identity
from mtpfix.acceptance.identity import KINDS, Kind
from mtpfix.errors import UsageError
from mtpfix.findings import is_unjudged
from mtpfix.model import Acceptance, Accepted, Finding, Report

SCHEMA = "mtpfix.baseline/1"

_SHOWN = 3
"""Names of a row that are told where they are gone."""


class Key(NamedTuple):
    """What findings of one row share.

    Attributes:
        code: their code. repo: the target. engine: whose releases they name; None: of no engine.
        kind: what they are about.
    """

    code: str
    repo: str
    engine: str | None
    kind: Kind


Rows = Mapping[Key, frozenset[str]]
"""What findings share -> the names of what they are about."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a file says was found before.

    Attributes:
        file: its path, as it was given. rows: what it holds.
    """

    file: str
    rows: Rows

    def knows(self, finding: Finding, report: Report) -> bool:
        """Whether a finding was there before: whatever could not be judged never was."""
        if is_unjudged(finding):
            return False
        names = set(identity.subject(finding).names)
        keys = tuple(_keys(finding, report))
        return bool(keys) and all(k in self.rows and names <= self.rows[k] for k in keys)

    def split(
        self, findings: Iterable[Finding], report: Report
    ) -> tuple[tuple[Finding, ...], tuple[Accepted, ...]]:
        """Return the findings of a report that are new, and those that are known."""
        new: list[Finding] = []
        known: list[Accepted] = []
        why = Acceptance("baseline", "it was there before", self.file)
        for finding in findings:
            if self.knows(finding, report):
                known.append(Accepted(finding, why))
            else:
                new.append(finding)
        return tuple(new), tuple(known)

    def gone(self, report: Report) -> str | None:
        """Say what of the target is not found any more; None: nothing, or nobody knows.

        Args:
            report: with all of its findings; an engine that it did not ask says nothing.
        """
        found = rows_of(report, report.findings)
        asked = {None, *(engine.engine for engine in report.engines)}
        if not report.engines and any(map(is_unjudged, report.findings)):
            return None
        told = []
        for key, names in sorted(self.rows.items(), key=_order):
            if key.repo != identity.repo(report.target) or key.engine not in asked:
                continue
            left = sorted(names - found.get(key, frozenset()))
            if left or key not in found:
                told.append(_line(key, left))
        if not told:
            return None
        return f"{self.file} names what is not found any more: {'; '.join(told)}"


def rows_of(report: Report, findings: Iterable[Finding]) -> dict[Key, frozenset[str]]:
    """Return the rows for findings of a report."""
    rows: dict[Key, frozenset[str]] = {}
    for finding in findings:
        names = frozenset(identity.subject(finding).names)
        for key in _keys(finding, report):
            rows[key] = rows.get(key, frozenset()) | names
    return rows


def _keys(finding: Finding, report: Report) -> list[Key]:
    repo, kind = identity.repo(report.target), identity.subject(finding).kind
    engines = identity.engines(finding, report)
    return [Key(finding.code, repo, engine, kind) for engine in engines]


def belongs(finding: Finding) -> bool:
    """Whether a baseline may hold a finding: one that counts, and that was judged."""
    return finding.decides and finding.severity != "info" and not is_unjudged(finding)


def made(file: str, counted: Sequence[Report], former: Baseline | None) -> Baseline:
    """Return the baseline of a run.

    Args:
        file: where it will stand.
        counted: every target that was read, with the findings that count.
        former: what the file holds now: it stays for targets that were not read.
    """
    read = {identity.repo(report.target) for report in counted}
    kept = {} if former is None else {k: v for k, v in former.rows.items() if k.repo not in read}
    for report in counted:
        kept |= rows_of(report, filter(belongs, report.findings))
    return Baseline(file, kept)


def _line(key: Key, names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{key.code} {shown}{more}" if shown else key.code


# --- as a document -----------------------------------------------------------


def render(baseline: Baseline) -> str:
    """Return the document: sorted, so that a change of it can be read as a diff."""
    document = {
        "schema": SCHEMA,
        "findings": [
            {"code": key.code, "repo": key.repo, "engine": key.engine, key.kind: sorted(names)}
            for key, names in sorted(baseline.rows.items(), key=_order)
        ],
    }
    return f"{json.dumps(document, indent=2, ensure_ascii=True)}\n"


def _order(row: tuple[Key, frozenset[str]]) -> tuple[str, ...]:
    code, repo, engine, kind = row[0]
    return (repo, code, engine or "", kind)


def parse(text: str, file: str) -> Baseline:
    """Return the baseline that a document holds.

    Raises:
        UsageError: it holds none.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise _refused(file, "this is not JSON") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise _refused(file, f"this is no document of `{SCHEMA}`")
    rows: dict[Key, frozenset[str]] = {}
    found = document.get("findings")
    if not isinstance(found, list):
        raise _refused(file, "`findings` is not a list")
    for number, row in enumerate(found):
        for key, names in _row(row, f"findings[{number}]", file):
            rows[key] = rows.get(key, frozenset()) | names
    return Baseline(file, rows)


def _row(row: Any, place: str, file: str) -> Iterator[tuple[Key, frozenset[str]]]:
    kinds = [kind for kind in KINDS if isinstance(row, dict) and kind in row]
    if not kinds:
        raise _refused(file, f"`{place}` has none of {', '.join(KINDS)}")
    code, repo, engine = (row.get(key) for key in ("code", "repo", "engine"))
    if not isinstance(code, str) or not isinstance(repo, str):
        raise _refused(file, f"`{place}` has no `code` or no `repo`")
    if engine is not None and not isinstance(engine, str):
        raise _refused(file, f"`{place}.engine` is not a string")
    for kind in kinds:
        names = row[kind]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _refused(file, f"`{place}.{kind}` is not a list of strings")
        yield Key(code, repo, engine, kind), frozenset(cast("list[str]", names))


def _refused(file: str, why: str) -> UsageError:
    return UsageError(
        f"{file}: {why}", "name a file that `mtpfix check --write-baseline` wrote, or a new one"
    )
