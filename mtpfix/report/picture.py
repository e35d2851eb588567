"""The modules of a report as a grid: layers across, modules down, draft and trunk. Pure.

Layers that follow each other and look the same share one cell, so that the picture of a
large model stays small. Releases whose pictures are equal share one panel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mtpfix.model import Decision, EngineReport, ModuleReport, Part, Precision, Report, State
from mtpfix.report import ranges, rows, wording
from mtpfix.report.inert_text import inert
from mtpfix.report.rows import Decider, Lines
from mtpfix.report.wording import Sign

_BITS = re.compile(r"(?:fp|int|bf|f)(\d{1,2})\b|\b(\d)bit|(?:fp|int)(\d)")
_WEIGHT_BITS = re.compile(r"W(\d{1,2})A")
_FULL = ("32", "64")


class Half(NamedTuple):
    """One half of a cell: what is on disk, or what is built.

    Attributes:
        shade: `16` (unquantized), `8`, `6`, `4`, `q` (quantized, bits not told), `mixed`,
            `none` (nothing there), `unknown` or `error`.
        label: a character or two that stand for it where there is no room.
        words: the format or the scheme.
    """

    shade: str
    label: str
    words: str


class Face(NamedTuple):
    """All that a cell says; layers with the same face share a cell."""

    disk: Half
    built: Half
    decider: Decider | str
    verdict: Sign
    more: tuple[str, ...]


class Cell(NamedTuple):
    """A face and where it stands: its first column, how many it covers, the modules' names."""

    at: int
    span: int
    name: str
    face: Face


@dataclass(frozen=True, slots=True)
class Row:
    """Modules of one name in all layers, draft and trunk; columns without a cell are empty."""

    name: str
    draft: tuple[Cell, ...]
    trunk: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """One release as a picture.

    Attributes:
        draft, trunk: numbers of the layers that are its columns.
        blocks: rows under headings; the first has none.
    """

    draft: tuple[int, ...]
    trunk: tuple[int, ...]
    blocks: tuple[tuple[str, tuple[Row, ...]], ...]

    @property
    def cells(self) -> Iterable[Cell]:
        """All cells, row by row."""
        for _, found in self.blocks:
            for row in found:
                yield from (*row.draft, *row.trunk)


class Panel(NamedTuple):
    """Releases that look the same, oldest first."""

    members: tuple[EngineReport, ...]
    behind: str
    grid: Grid


def panels(report: Report) -> tuple[Panel, ...]:
    """The pictures of a report, in the order of the oldest release that each is about."""
    lines = rows.lines_of(report)
    groups: dict[tuple[str, str, str, Grid], list[EngineReport]] = {}
    for engine in wording.in_order(report.engines):
        drawn = grid(engine.modules, lines)
        made = (engine.engine, engine.outcome, wording.outcome(engine), drawn)
        groups.setdefault(made, []).append(engine)
    return tuple(
        Panel(tuple(members), behind, drawn) for (*_, behind, drawn), members in groups.items()
    )


# --- the grid ----------------------------------------------------------------

Place = tuple[str, str]
"""Prefix of the layers that a module stands in (empty: in none), and the rest of its name."""
Layers = dict["int | None", Face]
"""Number of a layer -> what is there; None for a module outside of layers."""


def grid(modules: Iterable[ModuleReport], lines: Lines) -> Grid:
    """All modules of one release that a person wants to see."""
    found: dict[Part, dict[Place, Layers]] = {"draft": {}, "trunk": {}}
    for module in filter(rows.is_shown, modules):
        root, number, rest = rows.split(rows.name_of(module))
        _put(found[module.decision.module.part], (root, rest), number, _face(module, lines))
    axes = {part: _axis(places) for part, places in found.items()}
    blocks: dict[str, dict[Place, dict[Part, tuple[Cell, ...]]]] = {"": {}}
    for part, places in found.items():
        main = _main_root(places)
        for (root, rest), layers in places.items():
            heading = _heading(part, root, main)
            key = ("layered" if root else "", rest)
            row = blocks.setdefault(heading, {}).setdefault(key, {})
            row[part] = _cells(root, rest, layers, axes[part])
    drawn = (
        (heading, tuple(_row(name, parts) for (_, name), parts in named.items()))
        for heading, named in blocks.items()
        if named
    )
    return Grid(axes["draft"], axes["trunk"], tuple(drawn))


def _put(places: dict[Place, Layers], place: Place, number: int | None, face: Face) -> None:
    """Puts a module in its place; the next of the same name gets a row of its own."""
    root, rest = place
    again = 1
    while number in places.setdefault(place, {}):
        again += 1
        place = (root, f"{rest} ({again})")
    places[place][number] = face


def _row(name: str, parts: Mapping[Part, tuple[Cell, ...]]) -> Row:
    return Row(inert(name), parts.get("draft", ()), parts.get("trunk", ()))


def _axis(places: Mapping[Place, Layers]) -> tuple[int, ...]:
    """Numbers of all layers; one nameless column where there are modules and no layers."""
    numbers = {number for layers in places.values() for number in layers if number is not None}
    return tuple(sorted(numbers)) or ((-1,) if places else ())


def _main_root(places: Mapping[Place, Layers]) -> str:
    """The prefix of most modules; others, such as a vision tower, stand apart."""
    count: dict[str, int] = {}
    for (root, _), layers in places.items():
        count[root] = count.get(root, 0) + (len(layers) if root else 0)
    return max(count, key=lambda root: count[root], default="")


def _heading(part: Part, root: str, main: str) -> str:
    if root == main != "" or (part == "draft" and not root):
        return ""
    return f"{inert(root)}*" if root else "outside the layers"


def _cells(root: str, rest: str, layers: Layers, axis: Sequence[int]) -> tuple[Cell, ...]:
    """The cells of one row; a module outside of layers covers them all."""
    if None in layers:
        return (Cell(0, len(axis), inert(rest), layers[None]),)
    found: list[Cell] = []
    for at, number in enumerate(axis):
        face = layers.get(number)
        if face is None:
            continue
        last = found[-1] if found else None
        if last is not None and last.at + last.span == at and last.face == face:
            found[-1] = last._replace(span=last.span + 1)
        else:
            found.append(Cell(at, 1, "", face))
    return tuple(cell._replace(name=_name(root, rest, axis, cell)) for cell in found)


def _name(root: str, rest: str, axis: Sequence[int], cell: Cell) -> str:
    numbers = axis[cell.at : cell.at + cell.span]
    return f"{inert(root)}{ranges.part(numbers)}.{inert(rest)}"


# --- a cell ------------------------------------------------------------------


def _face(module: ModuleReport, lines: Lines) -> Face:
    disk, built = _stored(module.disk), _built(module.decision)
    if built.shade == disk.shade == "16":
        built = built._replace(label=disk.label)
    if module.agrees and "q" in (disk.shade, built.shade):
        # One of the two tells the bits: what agrees has the same.
        known = next((h for h in (built, disk) if h.shade != "q"), built)
        disk, built = (
            half._replace(shade=known.shade, label=known.label) for half in (disk, built)
        )
    more = [wording.exception(module.detail)] if module.detail else []
    more += [inert(module.limit.reason)] if module.limit else []
    return Face(
        disk,
        built,
        rows.decided_by(module, lines),
        wording.verdict(module),
        tuple(more),
    )


def _stored(disk: Precision) -> Half:
    said = wording.stored(disk, short=True)
    if disk.state is State.MISSING:
        return Half("none", "\N{EN DASH}", "nothing")
    if disk.state is State.MIXED:
        return Half("mixed", "\N{PLUS-MINUS SIGN}", said)
    bits = _bits(disk.format)
    if disk.state is State.UNQUANTIZED:
        return Half("16", bits if bits in _FULL else "16", said)
    return _quantized(bits, said)


def _built(decision: Decision) -> Half:
    said = wording.built(decision, short=True)
    if decision.built == "unquantized":
        return Half("16", "16", said)
    if decision.built == "unknown":
        return Half("unknown", "?", said)
    if decision.built == "error":
        return Half("error", "!", said)
    weight = _WEIGHT_BITS.search(decision.scheme or "")
    return _quantized(weight[1] if weight else _bits(decision.expects or decision.scheme), said)


def _quantized(bits: str | None, said: str) -> Half:
    return Half(bits, bits, said) if bits in ("8", "6", "4") else Half("q", "q", said)


def _bits(name: str | None) -> str | None:
    """Bits of a weight, as far as the name of a format or a scheme tells them."""
    found = _BITS.search((name or "").lower())
    return next(filter(None, found.groups()), None) if found else None
