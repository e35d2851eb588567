"""The report for a person at a terminal.

rich is imported only when something is rendered, so that importing this module,
and every command that prints something else, stays cheap.
"""

from __future__ import annotations

from mtpfix.model import Report
from mtpfix.report import wording
from mtpfix.report.inert_text import ASCII, inert


def render(
    report: Report,
    *,
    width: int | None = None,
    color: bool = False,
    verbose: bool = False,
    ascii: bool = False,  # noqa: A002 - the name that a caller expects
) -> str:
    """The whole report.

    Args:
        report: what to show.
        width: columns to fit into; None: those of the terminal.
        color: whether to colour with escape codes; without, there is none in the text.
        verbose: also full class names, modules on disk, JSON pointers and edits.
        ascii: for streams whose encoding cannot carry signs such as `✓`.
    """
    from mtpfix.report import terminal  # noqa: PLC0415 - imports rich

    text = terminal.rendered(report, width, color=color, verbose=verbose)
    return _plain(text) if ascii else text


def summary(report: Report, *, ascii: bool = False) -> str:  # noqa: A002 - as above
    """The report in one line, without a line break."""
    sign = wording.overall(report)
    codes = ", ".join(dict.fromkeys(inert(f.code) for f in report.findings))
    found = f": {wording.tally(report.findings)} ({codes})" if codes else ""
    line = f"{sign.sign} {inert(report.target.name)}: {wording.sentence(report)}{found}"
    return _plain(line) if ascii else line


def _plain(text: str) -> str:
    return text.translate(ASCII).encode("ascii", "backslashreplace").decode("ascii")
