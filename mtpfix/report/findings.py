"""Findings in few lines, and finding codes explained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.text import Text

from mtpfix.findings import Kind, kinds
from mtpfix.model import Accepted, Finding, Report
from mtpfix.report import grid, rows, text, wording
from mtpfix.report.inert_text import ASCII, PROSE_LIMIT, inert
from mtpfix.report.page import STYLES, Page, mooded
from mtpfix.symptoms import Symptom

ENDLESS = 1_000_000
"""A width at which nothing is wrapped."""


def brief(report: Report, width: int | None, *, color: bool, ascii: bool) -> str:  # noqa: A002
    """One item for each finding and note, then the verdict; one line each if `width` is None."""
    page = Page(ENDLESS if width is None else width, color=color)
    for finding in report.findings:
        put(page, finding, report)
    for accepted in report.accepted:
        put_accepted(page, accepted, report)
    for note in report.notes:
        page.item(mooded("  note  ", "quiet"), mooded(inert(note, PROSE_LIMIT)))
    sign = wording.overall(report)
    said = text.summary(report).removeprefix(f"{sign.sign} ")
    page.item(mooded(f"{sign.sign} ", sign.mood), mooded(said, "strong"))
    return _plain(page.text(), ascii=ascii)


def put(page: Page, finding: Finding, report: Report, indent: int = 0) -> None:
    """A finding as one item: code, place, message, releases."""
    sign = wording.severity(finding)
    label = mooded(f"{sign.sign} {inert(finding.code)} {sign.word}  ", sign.mood)
    page.item(label, _body(finding, report), indent)


def put_accepted(page: Page, accepted: Accepted, report: Report) -> None:
    """A finding that does not count as one item, with the reason."""
    why = accepted.acceptance
    word = wording.accepted(why)
    label = mooded(f"\N{EN DASH} {inert(accepted.finding.code)} {word}  ", "quiet")
    body = _body(accepted.finding, report)
    page.item(label, body.append(f" [{word}: {wording.because(why)}]", STYLES["strong"]))


def _body(finding: Finding, report: Report) -> Text:
    """Place, message and releases."""
    place = finding.where
    said = f"{rows.where(place.file, place.line)}: " if place and place.line is not None else ""
    body = Text.assemble((said, STYLES["strong"]), inert(finding.message, PROSE_LIMIT))
    reach = wording.reach(finding, report.engines)
    if reach is not None:
        body.append(f" [{reach}]", STYLES["quiet"])
    return body


# --- codes -------------------------------------------------------------------


def explained(
    codes: Iterable[Kind],
    width: int,
    *,
    color: bool,
    ascii: bool,  # noqa: A002
) -> str:
    """Everything about some codes."""
    page = Page(min(width, 100), color=color)
    for one in codes:
        page.line(mooded(f"{one.code}  {one.title}", "strong"))
        words = {"meaning": one.meaning, "example": one.example, "what to do": one.remedy}
        _put_words(page, words)
    return _plain(page.text(), ascii=ascii)


def recognised(
    found: Iterable[Symptom],
    width: int,
    *,
    color: bool,
    ascii: bool,  # noqa: A002
) -> str:
    """Everything about some symptoms, with a blank line between two."""
    page = Page(min(width, 100), color=color)
    for number, one in enumerate(found):
        if number:
            page.line()
        page.line(mooded(one.title, "strong"))
        codes = ", ".join(f"{code} {kinds()[code].title}" for code in one.findings)
        said_by = " and ".join(wording.engine(name) for name in one.engines)
        words = {
            "such as": one.shown,
            "said by": said_by,
            "meaning": one.meaning,
            "what to do": one.remedy,
            "foretold by": codes,
        }
        _put_words(page, words)
    return _plain(page.text(), ascii=ascii)


def _put_words(page: Page, words: Mapping[str, str]) -> None:
    for label, said in words.items():
        page.line()
        page.item(mooded(f"{label:<13}", "quiet"), Text(said), 2)


def listed(
    codes: Iterable[Kind],
    width: int,
    *,
    color: bool,
    ascii: bool,  # noqa: A002
) -> str:
    """Codes and titles."""
    page = Page(width, color=color)
    cells = [(grid.cell(one.code, mood="strong"), grid.cell(one.title)) for one in codes]
    grid.put(page, ("code", "title"), [grid.Block("", cells)])
    return _plain(page.text(), ascii=ascii)


def _plain(shown: str, *, ascii: bool) -> str:  # noqa: A002
    return shown.translate(ASCII) if ascii else shown
