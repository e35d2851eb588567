"""What is covered, for a person, a program, and the docs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from json import dumps

from mtpfix import facts
from mtpfix.engines.base import Engine
from mtpfix.engines.coverage import Covered
from mtpfix.model import PLATFORMS, Grade, Platform
from mtpfix.report import grid
from mtpfix.report.dialects import page as dialects_page
from mtpfix.report.inert_text import ASCII
from mtpfix.report.markdown import table
from mtpfix.report.page import Page, mooded

SCHEMA = "mtpfix.families/1"

_LETTERS: dict[Grade | None, str] = {"run": "R", "read": "r", "assumed": "a", None: "."}
_LEGEND = "R tested against recordings, r read in the source, a assumed, . no MTP draft"


def text(
    engine: Engine,
    width: int,
    *,
    color: bool,
    ascii: bool,  # noqa: A002
) -> str:
    """Families against releases, then what they are recognised by."""
    page = Page(width, color=color)
    known, covered = engine.releases, engine.coverage()
    shared, heads = _heads(known)
    rows = [_row(one, known, len(shared), heads) for one in covered]
    grid.put(page, ("family", f"{shared}{' '.join(heads)}", "platforms"), [grid.Block("", rows)])
    page.line()
    names = [
        (
            grid.cell(one.family, mood="strong"),
            grid.cell(*one.architectures),
            grid.cell(*one.draft_classes),
        )
        for one in covered
    ]
    grid.put(page, ("family", "architectures", "draft class"), [grid.Block("", names)])
    page.line()
    for label, said in (
        ("letters", _LEGEND),
        ("platforms", f"the letters are for cuda; {_others(covered)}"),
        ("methods", ", ".join(_methods(engine))),
        ("releases", ", ".join(known)),
    ):
        page.item(mooded(f"{label:<11}", "quiet"), mooded(said), 2)
    shown = page.text()
    return shown.translate(ASCII) if ascii else shown


def _heads(known: Sequence[str]) -> tuple[str, list[str]]:
    """Return what all releases begin with, and what tells each from the others."""
    parts = [release.split(".") for release in known]
    numbers = range(len(parts[0]))
    apart = (n for n in numbers if len({tuple(part[: n + 1]) for part in parts}) > 1)
    common = next(apart, numbers[-1])
    shared = "".join(f"{part}." for part in parts[0][:common])
    short = [part[common] for part in parts]
    distinct = len(set(short)) == len(short)
    return shared, short if distinct else [".".join(part[common:]) for part in parts]


def _others(covered: Sequence[Covered]) -> str:
    """Return what the evidence for other platforms is."""
    others = {cell.grade for one in covered for cell in one.cells if cell.platform != _main(one)}
    recorded = others == {"run"}
    return (
        "other platforms are recorded too" if recorded else "other platforms are read in the source"
    )


def _row(
    one: Covered, known: Sequence[str], before: int, heads: Sequence[str]
) -> Sequence[grid.Cell]:
    grades = (_LETTERS[one.grade(release, _main(one))] for release in known)
    letters = (letter.rjust(len(head)) for letter, head in zip(grades, heads, strict=True))
    return (
        grid.cell(one.family, mood="strong"),
        grid.cell(" " * before + " ".join(letters)),
        grid.cell(" ".join(one.platforms)),
    )


def _main(one: Covered) -> Platform:
    """The platform that is shown: CUDA wherever there is one."""
    return one.platforms[0]


def _methods(engine: Engine) -> list[str]:
    return [dialect.method for dialect in engine.dialects()]


def markdown(engine: Engine) -> str:
    """The page of the docs: `mtpfix families --format markdown`."""
    known, covered = engine.releases, engine.coverage()
    shared, heads = _heads(known)
    short, page = [f"{shared}{head}" for head in heads], dialects_page(engine)
    lines = [
        f"# What is covered of {engine.title}",
        "",
        f"Made by `mtpfix families --engine {engine.name} --format markdown`, for "
        f"compressed-tensors; the other quantization methods are in [{page}]({page}).",
        "",
        f"The evidence for each release of {engine.title} on CUDA. **tested**: compared, decision "
        "by decision, with recordings of that release. *source*: read in its source code. A dash: "
        f"it has no MTP draft for the family. {_others(covered).capitalize()}.",
        "",
    ]
    shown: dict[Grade | None, str] = {
        "run": "**tested**",
        "read": "*source*",
        "assumed": "assumed",
    }
    rows = []
    for one in covered:
        grades = [shown.get(one.grade(release, _main(one)), "-") for release in known]
        rows.append([f"`{one.family}`", *grades, ", ".join(one.platforms)])
    lines += table(["family", *short, "platforms"], rows)
    lines += ["", "How mtpfix recognises each family, and what the newest release builds:", ""]
    rows = []
    for one in covered:
        named = [", ".join(f"`{n}`" for n in n) for n in (one.architectures, one.draft_classes)]
        rows.append([f"`{one.family}`", one.title, *named])
    lines += table(["family", "model", "architectures", "draft class"], rows)
    return "\n".join(lines) + "\n"


def json(engine: Engine) -> str:
    """A document of schema `mtpfix.families/1`."""
    document = {
        "schema": SCHEMA,
        "tool": facts.tool(),
        "engine": engine.name,
        "releases": engine.releases,
        "methods": _methods(engine),
        "platforms": PLATFORMS,
        "families": [asdict(one) for one in engine.coverage()],
    }
    return f"{dumps(document, indent=2)}\n"
