"""A report in the format that was asked for, on stdout and in further files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mtpfix.cli import output
from mtpfix.cli.options import Color, ReportFormat
from mtpfix.cli.output import Screen
from mtpfix.errors import UsageError

if TYPE_CHECKING:
    from mtpfix.model import Report

ForPerson = Callable[["Report", Screen], str]
"""Renders a report as text that suits a command."""


class Copy(NamedTuple):
    """The result once more: in which format, and where."""

    form: ReportFormat
    file: Path


def copies(given: Iterable[str] | None) -> tuple[Copy, ...]:
    """What `--also` asks for.

    Raises:
        UsageError: a value is not FORMAT=FILE, or the format is not known.
    """
    return tuple(_copy(text) for text in given or ())


def _copy(text: str) -> Copy:
    name, _, file = text.partition("=")
    known = [form.value for form in ReportFormat]
    if name not in known or not file:
        raise UsageError(
            f"--also {text}: this is not FORMAT=FILE",
            f"write for example sarif=out.sarif; the formats are {', '.join(known)}",
        )
    return Copy(ReportFormat(name), Path(file))


def emit(
    report: Report,
    person: ForPerson,
    *,
    form: ReportFormat,
    file: Path | None,
    color: Color,
    also: Sequence[Copy],
) -> None:
    """Writes a report: to stdout or `file`, and to the files of `also`.

    Raises:
        WriteError: a file cannot be written.
    """
    for copy in also:
        screen = output.result_screen("never", copy.file)
        output.emit(rendered(report, person, copy.form, screen), copy.file)
    output.emit(rendered(report, person, form, output.result_screen(color.value, file)), file)


def rendered(report: Report, person: ForPerson, form: ReportFormat, screen: Screen) -> str:
    """A report in one format; `person` renders text."""
    if form is ReportFormat.text:
        return person(report, screen)
    shown: str = import_module(f"mtpfix.report.{form.value}").render(report)
    return shown


def exit_code(code: int, form: ReportFormat) -> int:
    """Findings in SARIF are judged by who reads them; what could not be judged still fails."""
    return 0 if form is ReportFormat.sarif and code == 1 else code
