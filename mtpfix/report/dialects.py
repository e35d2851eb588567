"""What is done with each quantization method, for a person, a program, and the docs."""

from __future__ import annotations

from dataclasses import asdict
from json import dumps

from mtpfix import facts
from mtpfix.engines.base import Engine
from mtpfix.engines.coverage import Dialect
from mtpfix.engines.registry import DEFAULT
from mtpfix.report import wording
from mtpfix.report.inert_text import ASCII
from mtpfix.report.markdown import table
from mtpfix.report.page import Page, mooded

SCHEMA = "mtpfix.dialects/1"
_HEADS = ("dialect", "read", "predict", "repair", "proved")


def text(
    engine: Engine,
    width: int,
    *,
    color: bool,
    ascii: bool,  # noqa: A002
) -> str:
    """One dialect after the other, without the marks of Markdown."""
    page = Page(width, color=color)
    for row in engine.dialects():
        page.line(mooded(row.method, "strong"))
        for label, said in zip(_HEADS[1:], _cells(row), strict=True):
            page.item(mooded(f"{label:<9}", "quiet"), mooded(said.replace("`", "")), 2)
    shown = page.text()
    return shown.translate(ASCII) if ascii else shown


def _predicted(row: Dialect) -> str:
    """The evidence for predictions: what recordings of real releases cover."""
    if not row.decisions:
        return "read in the source"
    families = wording.count(len(row.families), "family", "families")
    releases = wording.count(len(row.releases), "release")
    return f"{row.decisions:,} decisions, {families}, {releases}"


def _proved(row: Dialect) -> str:
    """The recipes that the real engine has loaded after the repair, and for how many families."""
    told = (
        f"`{recipe}` in {wording.count(len(families), 'family', 'families')}"
        for recipe, families in row.proved.items()
    )
    return ", ".join(told) or row.unproved or "-"


def page(engine: Engine) -> str:
    """The page of the docs that `markdown` makes of an engine."""
    return "dialects.md" if engine.name == DEFAULT else f"{engine.name}-dialects.md"


def markdown(engine: Engine) -> str:
    """The page of the docs: `mtpfix families --dialects --format markdown`."""
    proof = "proof.md" if engine.name == DEFAULT else "two-engines-proof.md"
    lines = [
        f"# Quantization dialects in {engine.title}",
        "",
        f"Made by `mtpfix families --engine {engine.name} --dialects --format markdown`. "
        "*Predict*: recorded decisions of real releases (`tests/conformance`), all of which mtpfix "
        f"predicts. *Proved*: the families in which a real {engine.title} loads the repaired "
        f"checkpoint clean ([{proof}]({proof})); a dash means that no repair has been loaded yet.",
        "",
    ]
    cells = ([f"`{row.method}`", *_cells(row)] for row in engine.dialects())
    return "\n".join([*lines, *table(_HEADS, cells)]) + "\n"


def _cells(row: Dialect) -> tuple[str, ...]:
    """What stands under each heading but the first."""
    return row.reads, _predicted(row), row.repair, _proved(row)


def json(engine: Engine) -> str:
    """A document of schema `mtpfix.dialects/1`."""
    document = {
        "schema": SCHEMA,
        "tool": facts.tool(),
        "engine": engine.name,
        "dialects": [asdict(row) for row in engine.dialects()],
    }
    return f"{dumps(document, indent=2)}\n"
