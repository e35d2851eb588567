"""Many targets: a line for each, and a document for programs."""

from __future__ import annotations

import json as jsonlib
from collections import Counter
from collections.abc import Sequence

from mtpfix import facts
from mtpfix.auditing import Audited, worst
from mtpfix.report import grid, wording
from mtpfix.report.inert_text import ASCII, inert, inert_json
from mtpfix.report.json import view
from mtpfix.report.page import Page, mooded

SCHEMA = "mtpfix.audit/1"
_HEADS = ("target", "family", "method", "verdict", "findings")


def text(
    rows: Sequence[Audited],
    width: int,
    *,
    color: bool,
    ascii: bool,  # noqa: A002
) -> str:
    """A line for each target, then how many fared how."""
    page = Page(width, color=color)
    grid.put(page, _HEADS, [grid.Block("", [_row(row) for row in rows])])
    page.line()
    page.line(mooded(summary(rows), "strong"))
    shown = page.text()
    return shown.translate(ASCII) if ascii else shown


def summary(rows: Sequence[Audited]) -> str:
    """How many targets fared how, in a sentence."""
    count = Counter(row.exit_code for row in rows)
    told = (
        f"{count[code]} {said}"
        for code, said in (
            (0, "may pass"),
            (1, "wrong"),
            (3, "could not be judged"),
            (4, "changed meanwhile"),
            (2, "could not be read"),
            (5, "ended in an error inside mtpfix"),
        )
        if count[code]
    )
    return f"{wording.count(len(rows), 'target')}: {', '.join(told) or 'nothing to judge'}"


def _row(row: Audited) -> Sequence[grid.Cell]:
    name, report = inert(row.target), row.report
    if report is None:
        # Why is told on stderr, where there is room for it.
        return (grid.cell(name), [], [], grid.cell("✗ not readable", mood="bad"), [])
    sign = wording.overall(report)
    codes = dict.fromkeys(finding.code for finding in report.findings if finding.severity != "info")
    return (
        grid.cell(name),
        grid.cell(report.model.family or "-"),
        grid.cell(inert(report.method or "-")),
        grid.cell(f"{sign.sign} {sign.word}", mood=sign.mood),
        grid.cell("; ".join(filter(None, (", ".join(codes), wording.left_out(report)))) or "-"),
    )


def json(rows: Sequence[Audited], notes: Sequence[str] = ()) -> str:
    """A document of schema `mtpfix.audit/1`: for each target a whole report, or the error."""
    document = {
        "schema": SCHEMA,
        "tool": facts.tool(),
        "targets": [_view(row) for row in rows],
        "notes": list(notes),
        "exit_code": worst(row.exit_code for row in rows),
    }
    return f"{inert_json(jsonlib.dumps(document, indent=2, ensure_ascii=False))}\n"


def _view(row: Audited) -> dict[str, object]:
    error = row.error
    return {
        "target": row.target,
        "exit_code": row.exit_code,
        "error": error and {"message": error.message, "remedy": error.remedy},
        "report": row.report and view(row.report),
    }
