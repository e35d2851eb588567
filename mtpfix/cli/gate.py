"""The gate: which findings count, and what exit code they come to."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from mtpfix.errors import UnknownError, UsageError

if TYPE_CHECKING:
    from datetime import date

    from mtpfix.acceptance.baseline import Baseline
    from mtpfix.acceptance.ignores import Ignore
    from mtpfix.delivery import Delivered
    from mtpfix.model import Accepted, Finding, Report, Severity

_EVERY = "MTP"
"""What all codes begin with: it names none of them."""
_FAILING: dict[str, tuple[Severity, ...]] = {
    "error": ("error",),
    "warning": ("error", "warning"),
    "never": (),
}


@dataclass(frozen=True, slots=True)
class Wish:
    """Which findings the user wants to see and to count.

    Attributes:
        select: prefixes of codes; empty: all. ignore: prefixes of codes.
        fail_on: the mildest severity that fails, or `never`.
        ignores: what the settings file ignores for a reason.
        baseline: what was there before. today: by it ignores end.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: str = "error"
    ignores: tuple[Ignore, ...] = ()
    baseline: Baseline | None = None
    today: date | None = None

    def keeps(self, finding: Finding) -> bool:
        """Whether a finding is shown and counted.

        What could not be judged passes no selection silently: it has to be ignored by name.
        """
        from mtpfix.findings import is_unjudged

        if is_unjudged(finding):
            return not finding.code.startswith(tuple(p for p in self.ignore if p != _EVERY))
        if finding.code.startswith(self.ignore):
            return False
        return not self.select or finding.code.startswith(self.select)


def wish(
    select: Iterable[str] | None,
    ignore: Iterable[str] | None,
    fail_on: str,
    ignores: tuple[Ignore, ...] = (),
) -> Wish:
    """The wish of a command line, today (UTC).

    Raises:
        UsageError: something names no finding.
    """
    today = datetime.now(timezone.utc).date()
    return Wish(_prefixes(select), _prefixes(ignore), fail_on, ignores, today=today)


def _prefixes(given: Iterable[str] | None) -> tuple[str, ...]:
    from mtpfix.findings import kinds

    found = [p.strip().upper() for text in given or () for p in re.split(r"[,\s]+", text) if p]
    for prefix in found:
        if not any(code.startswith(prefix) for code in kinds()):
            raise UsageError(
                f"{prefix} is neither a finding code nor the beginning of one",
                "see `mtpfix explain` for all codes",
            )
    return tuple(found)


def gated(report: Report, wanted: Wish) -> Report:
    """The report with the findings that count, and the exit code that they come to."""
    kept = _kept(report, wanted)
    hidden = [finding.code for finding in report.findings if not wanted.keeps(finding)]
    notes = [_left_out(hidden, wanted)] if hidden else []
    counted, accepted, said = _accepted(kept, report, wanted)
    return replace(
        report,
        findings=counted,
        accepted=accepted,
        notes=(*report.notes, *notes, *said),
        left_out=tuple(dict.fromkeys(hidden)),
        exit_code=_exit_code(report, counted, wanted),
    )


def delivered(done: Delivered, wanted: Wish) -> Delivered:
    """The repair with the findings that count, and the exit codes that they come to."""
    return replace(done, repair=done.repair.counted(lambda report: gated(report, wanted)))


def said(report: Report, wanted: Wish) -> tuple[str, ...]:
    """What is to be said of ignores and the baseline, of a report before it was gated."""
    return _accepted(_kept(report, wanted), report, wanted)[2]


def _kept(report: Report, wanted: Wish) -> tuple[Finding, ...]:
    return tuple(finding for finding in report.findings if wanted.keeps(finding))


def _accepted(
    kept: tuple[Finding, ...], report: Report, wanted: Wish
) -> tuple[tuple[Finding, ...], tuple[Accepted, ...], tuple[str, ...]]:
    """Return which findings count, which do not, and what is to be said of that."""
    accepted: tuple[Accepted, ...] = ()
    said: tuple[str, ...] = ()
    if wanted.ignores and wanted.today is not None:
        from mtpfix.acceptance import identity, ignores

        repo = identity.repo(report.target)
        judged = ignores.judge(kept, wanted.ignores, repo, wanted.today)
        kept, accepted, said = judged.counted, judged.accepted, judged.notes
    if wanted.baseline is not None:
        kept, known = wanted.baseline.split(kept, report)
        accepted += known
        said += tuple(filter(None, [wanted.baseline.gone(report)]))
    return kept, accepted, said


def idle(reports: Sequence[Report], wanted: Wish) -> Iterator[str]:
    """Say which ignores matched nothing in a run, of the reports before they were gated."""
    if wanted.ignores and wanted.today is not None:
        from mtpfix.acceptance import identity, ignores

        found = [(identity.repo(report.target), report.findings) for report in reports]
        yield from ignores.idle(wanted.ignores, found, wanted.today)


def _left_out(hidden: Sequence[str], wanted: Wish) -> str:
    """Return a sentence that names findings which are not shown, and the options that say so."""
    ignore = [prefix for prefix in wanted.ignore if any(c.startswith(prefix) for c in hidden)]
    select = wanted.select if any(not c.startswith(wanted.ignore) for c in hidden) else ()
    options = {"--ignore": ignore, "--select": select}
    by = " and ".join(f"{flag} {','.join(given)}" for flag, given in options.items() if given)
    counts = Counter(hidden)
    codes = ", ".join(code if n == 1 else f"{n} x {code}" for code, n in counts.items())
    noun = "finding is" if len(hidden) == 1 else "findings are"
    return f"{len(hidden)} {noun} left out by {by}: {codes}"


def _exit_code(report: Report, kept: Sequence[Finding], wanted: Wish) -> int:
    from mtpfix.findings import is_unjudged

    kept = [finding for finding in kept if finding.decides]
    unjudged = [f for f in kept if is_unjudged(f)]
    failing = _FAILING[wanted.fail_on]
    if any(f.severity in failing for f in kept if f not in unjudged):
        return 1
    if failing and _unexplained(report):
        return 1
    open_engines = any(e.outcome == "unknown" for e in report.engines if e.decides)
    return UnknownError.exit_code if unjudged or open_engines else 0


def _unexplained(report: Report) -> bool:
    """Whether a load fails and no finding says why: then there is none to leave out either."""
    from mtpfix.model import FAILED

    explained = any(f.severity == "error" for f in report.findings if f.decides)
    failed = any(engine.outcome in FAILED for engine in report.engines if engine.decides)
    return failed and not explained


def readable(report: Report) -> int:
    """The exit code of `inspect`: 0 if everything that was asked for could be judged."""
    from mtpfix.findings import is_unjudged

    deciding = (finding for finding in report.findings if finding.decides)
    unjudged = any(map(is_unjudged, deciding))
    open_engines = any(e.outcome == "unknown" for e in report.engines if e.decides)
    return UnknownError.exit_code if unjudged or open_engines else 0
