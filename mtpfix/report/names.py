"""Construction-time names, and the entries for a recipe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from json import dumps

from rich.text import Text

from mtpfix import __version__
from mtpfix.advice import Named, Names
from mtpfix.report import grid, ranges, words
from mtpfix.report.grid import Block, Cell
from mtpfix.report.page import Page, mooded
from mtpfix.report.safe import inert, inert_json

SCHEMA = "mtpfix.names/1"

_LAYER = re.compile(r"(?P<root>.*?\.\d+\.)(?P<rest>.+)")


def text(found: Names, width: int, *, color: bool, ascii: bool) -> str:  # noqa: A002
    """A table for each group of releases that name alike, then the entries as YAML."""
    page = Page(width, color=color)
    known = [release for releases, _ in found.groups for release in releases]
    for releases, named in found.groups:
        page.line(mooded(f"vLLM {ranges.releases(releases, known)}", "strong"))
        titles = ("module", "kind", "on disk", "the matcher is asked about")
        grid.put(page, titles, list(_blocks(named)))
        page.line()
    page.line(mooded("# Names under `*` begin with what stands before it.", "quiet"))
    page.line(mooded("# For a calibration recipe, right for every release above:", "quiet"))
    for line in yaml(found).splitlines():
        page.line(line)
    shown = page.text()
    return shown.translate(words.ASCII) if ascii else shown


def yaml(found: Names) -> str:
    """The entries as a YAML list, under the key `ignore`."""
    quoted = ("'" + inert(entry).replace("'", "''") + "'" for entry in found.entries)
    return "ignore:\n" + "".join(f"  - {entry}\n" for entry in quoted)


def json(found: Names) -> str:
    """A document of schema `mtpfix.names/1`."""
    document = {
        "schema": SCHEMA,
        "tool": {"name": "mtpfix", "version": __version__},
        "family": found.family,
        "groups": [
            {"releases": releases, "modules": [_view(one) for one in named]}
            for releases, named in found.groups
        ],
        "entries": found.entries,
    }
    return f"{inert_json(dumps(document, indent=2, ensure_ascii=False))}\n"


def _view(one: Named) -> dict[str, object]:
    module = one.module
    return {
        "name": module.name,
        "kind": module.kind,
        "members": module.members,
        "asks": module.asks,
        "asked": one.asked,
    }


# --- rows --------------------------------------------------------------------


def _blocks(named: Sequence[Named]) -> Iterator[Block]:
    """Modules by layer; those outside of a layer first."""
    layers: dict[str, list[Named]] = {}
    for one in named:
        found = _LAYER.fullmatch(one.module.name)
        layers.setdefault(found["root"] if found else "", []).append(one)
    for root, members in layers.items():
        disk = _common(member for one in members for member in one.module.members)
        heading = f"{inert(root)}*" if root else ""
        if heading and disk and disk != root:
            heading += f"  on disk {inert(disk)}*"
        yield Block(heading, [_row(one, root, disk if root else "") for one in members])


def _row(one: Named, root: str, disk: str) -> tuple[Cell, Cell, Cell, Cell]:
    module = one.module
    name = module.name.removeprefix(root) or f'"" ({module.param.rpartition(".")[2]})'
    return (
        grid.cell(inert(name)),
        grid.cell(module.kind, mood="quiet"),
        grid.cell(inert(braced([m.removeprefix(disk) for m in module.members]))),
        [_asked(one, root)],
    )


def _asked(one: Named, root: str) -> Text:
    """What the matcher compares, in short where it is the name itself."""
    if not one.module.asks:
        return mooded("never asked, always unquantized", "quiet")
    first, *others = one.asked or ("",)
    shown = braced([name.removeprefix(root) for name in others])
    if first != one.module.name:
        return Text(inert(braced([name.removeprefix(root) for name in one.asked])))
    if first == "":
        return mooded("the empty name", "unsure")
    return Text(f"this name, then {inert(shown)}" if others else "this name")


def braced(names: Sequence[str]) -> str:
    """Names with their common beginning written once: `mlp.{gate_proj,up_proj}`."""
    if len(names) < 2:  # noqa: PLR2004
        return "".join(names)
    start = _common(names)
    return f"{start}{{{','.join(name.removeprefix(start) for name in names)}}}"


def _common(names: Iterable[str]) -> str:
    """The dotted prefix that all names share, with its last dot; empty if there is none."""
    parts = [name.split(".")[:-1] for name in names]
    shared: list[str] = []
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    return "".join(f"{part}." for part in shared)
