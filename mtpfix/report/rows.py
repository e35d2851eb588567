"""The modules of one engine as rows of a table, folded where names only differ in a number.

Pure, no layout: what a row says, not how wide it is. Two releases whose rows are
equal look the same to a person.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mtpfix.model import Entry, ModuleReport, Part, Report
from mtpfix.report import ranges, wording
from mtpfix.report.inert_text import inert
from mtpfix.report.wording import Sign

Lines = Mapping[tuple[str, str], int]
"""(file, JSON pointer) -> line, as far as it is known."""

_LAYER = re.compile(r"(?P<root>.*?\.)(?P<number>\d+)\.(?P<rest>.+)")


@dataclass(frozen=True, slots=True)
class Decider:
    """The entry that decided, as a person finds it.

    Attributes:
        spelling: the entry as the file spells it.
        place: file and line; the file alone where the line is not known.
        pointer: JSON pointer in the file.
    """

    spelling: str
    place: str
    pointer: str


@dataclass(frozen=True, slots=True)
class Row:
    """What one module comes to.

    Attributes:
        name: construction-time name, without the prefix that its section shows.
        stored: on disk, long and short.
        built: by the engine, long and short.
        decider: the entry that decided, or words for why there is none.
        verdict: sign and word.
        more: further lines, for a reader who asked for everything.
    """

    name: str
    stored: tuple[str, str]
    built: tuple[str, str]
    decider: Decider | str
    verdict: Sign
    more: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """Rows with a common prefix, such as `model.layers.43.*`; empty: full names."""

    heading: str
    rows: tuple[Row, ...]


def lines_of(report: Report) -> Lines:
    """The lines that a report knows: those of deciding entries, and of its findings."""
    places = [finding.where for finding in report.findings if finding.where is not None]
    return {**report.lines, **{(w.file, w.pointer): w.line for w in places if w.line is not None}}


def sections(
    modules: Iterable[ModuleReport], part: Part, lines: Lines, *, verbose: bool = False
) -> tuple[Section, ...]:
    """The modules of one part as rows, in construction order, layers that are alike folded."""
    groups: dict[tuple[str, int | None], list[Row]] = {}
    for module in modules:
        if module.decision.module.part != part or not is_shown(module):
            continue
        root, number, rest = split(name_of(module))
        groups.setdefault((root, number), []).append(_row(module, rest, lines, verbose=verbose))
    return tuple(_folded(groups))


def is_shown(module: ModuleReport) -> bool:
    """A module that is built without asking is of interest only where that is wrong."""
    return module.decision.module.asks or module.agrees is False


def name_of(module: ModuleReport) -> str:
    """The name that the engine asks about; an empty one is told apart by its parameter."""
    made = module.decision.module
    if not made.asks:
        return made.param or made.name
    return made.name or f'"" ({made.param.rpartition(".")[2] or "the empty name"})'


def split(name: str) -> tuple[str, int | None, str]:
    """A name as the prefix of its layers, the number of its layer, and the rest."""
    found = _LAYER.fullmatch(name)
    if found is None or len(found["number"]) > 9:  # noqa: PLR2004 - no layer has such a number
        return "", None, name
    return found["root"], int(found["number"]), found["rest"]


def _row(module: ModuleReport, name: str, lines: Lines, *, verbose: bool) -> Row:
    return Row(
        name=inert(name),
        stored=(wording.stored(module.disk), wording.stored(module.disk, short=True)),
        built=(wording.built(module.decision), wording.built(module.decision, short=True)),
        decider=decided_by(module, lines),
        verdict=wording.verdict(module),
        more=_more(module) if verbose else (),
    )


def decided_by(module: ModuleReport, lines: Lines) -> Decider | str:
    """The entry that decided, or words for why there is none."""
    if not module.decision.module.asks:
        return "never asked"
    if module.limit is not None:
        return "no entry helps"
    entry = module.decision.because
    return "no entry matches" if entry is None else decider(entry, lines)


def decider(entry: Entry, lines: Lines) -> Decider:
    """An entry with its place."""
    place = where(entry.file, lines.get((entry.file, entry.pointer)))
    return Decider(inert(entry.spelling), place, inert(entry.pointer))


def where(file: str, line: int | None) -> str:
    """`file:line`, as terminals and editors open it."""
    return inert(file) if line is None else f"{inert(file)}:{line}"


def _more(module: ModuleReport) -> tuple[str, ...]:
    """What is loaded into the module, its class, and what goes wrong with it."""
    loaded = [inert(member) for member in module.members[:2]]
    if len(module.members) > len(loaded):
        loaded.append(f"and {len(module.members) - len(loaded):,} more")
    said = [f"from {', '.join(loaded)}"] if loaded else []
    said += [f"built as {inert(module.decision.scheme)}"] if module.decision.scheme else []
    said += [wording.exception(module.detail)] if module.detail else []
    said += [inert(module.limit.reason)] if module.limit else []
    return tuple(said)


def _folded(groups: Mapping[tuple[str, int | None], Sequence[Row]]) -> Iterable[Section]:
    """Sections in order; layers with equal rows share one, `model.layers.{3-60}.*`."""
    alike: dict[tuple[str, bool, tuple[Row, ...]], list[int]] = {}
    for (root, number), rows in groups.items():
        numbers = alike.setdefault((root, number is None, tuple(rows)), [])
        numbers += [] if number is None else [number]
    for (root, _, rows), numbers in alike.items():
        start = inert(root)
        if not numbers:
            yield Section("", rows)
        elif len(numbers) == len(rows) == 1:  # a heading would only cost a line
            yield Section("", (replace(rows[0], name=f"{start}{numbers[0]}.{rows[0].name}"),))
        else:
            yield Section(f"{start}{ranges.part(numbers)}.*", rows)
