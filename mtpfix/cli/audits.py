"""`check` of several targets."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mtpfix.cli import gate, output
from mtpfix.cli.options import Color, ReportFormat
from mtpfix.cli.rendering import Copy
from mtpfix.report.inert_text import PROSE_LIMIT, inert

if TYPE_CHECKING:
    from mtpfix.auditing import Audited
    from mtpfix.selection import Selection


def gathered(
    targets: Iterable[str] | None, file: Path | None, owner: str | None, token: str | None
) -> tuple[str, ...]:
    """All targets that a command line names, each once.

    Raises:
        MtpfixError: the file or the Hub cannot be read.
    """
    from mtpfix import auditing

    named = [*(targets or ())]
    named += auditing.from_file(file) if file is not None else ()
    named += auditing.of_owner(owner, token) if owner is not None else ()
    return tuple(dict.fromkeys(named))


def audited(
    targets: Sequence[str],
    selection: Selection,
    *,
    token: str | None,
    jobs: int,
    values: bool,
    fixes: bool,
) -> list[Audited]:
    """What came of each target; errors are told at once, and the run goes on."""
    from mtpfix import auditing

    found = auditing.audit(targets, selection, token=token, jobs=jobs, values=values, fixes=fixes)
    return list(_with_progress(found, len(targets)))


def _with_progress(rows: Iterable[Audited], number: int) -> Iterator[Audited]:
    """Shows how far the run is; however that ends, the line does not stay."""
    try:
        for done, row in enumerate(rows, 1):
            if row.error is not None:
                output.complain(row.error, row.target)
            output.progress(f"judged {done} of {number}")
            yield row
    finally:
        output.progress("")


def gated(rows: Sequence[Audited], wish: gate.Wish) -> tuple[list[Audited], list[str]]:
    """Return the rows with the findings that count, and what is to be said of the whole run."""
    found = [row.report for row in rows if row.report is not None]
    kept = [
        row if row.report is None else replace(row, report=gate.gated(row.report, wish))
        for row in rows
    ]
    own = (f"{report.target.name}: {said}" for report in found for said in gate.said(report, wish))
    return kept, [*own, *gate.idle(found, wish)]


def worst(rows: Iterable[Audited]) -> int:
    """The exit code of the run."""
    from mtpfix import auditing

    return auditing.worst(row.exit_code for row in rows)


def emit(
    rows: Sequence[Audited],
    notes: Sequence[str],
    *,
    form: ReportFormat,
    file: Path | None,
    color: Color,
    also: Sequence[Copy],
) -> None:
    """Writes the audit: to stdout or `file`, and to the files of `also`; notes to stderr."""
    for said in notes:
        output.note(f"note: {inert(said, PROSE_LIMIT)}")
    for copy in also:
        screen = output.result_screen("never", copy.file)
        output.emit(_rendered(rows, notes, copy.form, screen), copy.file)
    screen = output.result_screen(color.value, file)
    output.emit(_rendered(rows, notes, form, screen), file)


def _rendered(
    rows: Sequence[Audited], notes: Sequence[str], form: ReportFormat, screen: output.Screen
) -> str:
    from mtpfix.report import audit

    if form is ReportFormat.text:
        return audit.text(rows, screen.width, color=screen.color, ascii=screen.ascii)
    if form is ReportFormat.json:
        return audit.json(rows, notes)
    reports = (row.as_report for row in rows)
    shown: str = import_module(f"mtpfix.report.{form.value}").render(*reports)
    return shown
