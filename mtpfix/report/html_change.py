"""A repair as one page: every release before and after it, side by side, and the diff."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from mtpfix.delivery import Delivered
from mtpfix.model import EngineReport, Report
from mtpfix.report import change, picture, rows, wording
from mtpfix.report.html import finding, newest_of, not_counted, places, target_name
from mtpfix.report.html_grid import Numbers, choice, legend, rules, scrolled
from mtpfix.report.html_text import code, document, prose, signed
from mtpfix.report.picture import Grid
from mtpfix.report.wording import Sign

_NUMBER = "r0"
"""What the page calls its only target."""


class Side(NamedTuple):
    """What one release makes of the files, before or after the repair."""

    sign: Sign
    behind: str
    grid: Grid


class Pair(NamedTuple):
    """Releases that show the same before, and the same after."""

    members: tuple[EngineReport, ...]
    before: Side
    after: Side


def render(outcome: Delivered, command: str = "", *, untouched: str = "no weights") -> str:
    """The whole page.

    Args:
        outcome: the repair.
        command: the command line that made it; empty: it is not told.
        untouched: what it does not change.
    """
    found = pairs(outcome)
    grids = [side.grid for pair in found for side in (pair.before, pair.after)]
    title = f"{target_name(outcome.repair.before)}: the repair of its MTP block"
    body = _body(outcome, found, command, untouched)
    return document(title, body, rules(len(found), grids))


def pairs(outcome: Delivered) -> tuple[Pair, ...]:
    """Releases of a repair that look the same, in the order of the oldest of each."""
    old, new = rows.lines_of(outcome.repair.before), rows.lines_of(outcome.repair.after)
    groups: dict[tuple[str, Side, Side], list[EngineReport]] = {}
    for engine, then in change.turns(outcome):
        sides = _side(engine, old), _side(then, new)
        groups.setdefault((engine.engine, *sides), []).append(engine)
    return tuple(Pair(tuple(members), *sides) for (_, *sides), members in groups.items())


def _side(engine: EngineReport, lines: rows.Lines) -> Side:
    return Side(
        wording.OUTCOMES[engine.outcome],
        wording.outcome(engine),
        picture.grid(engine.modules, lines),
    )


# --- the page ----------------------------------------------------------------


def _body(outcome: Delivered, found: Sequence[Pair], command: str, untouched: str) -> Iterator[str]:
    yield f'<section class="report" id="{_NUMBER}" aria-labelledby="{_NUMBER}h">\n'
    yield f'<h1 id="{_NUMBER}h">{target_name(outcome.repair.before)}</h1>\n'
    yield f'<p class="verdict">{_verdict(outcome)}</p>\n'
    yield from (f"<p>{prose(line)}</p>\n" for line in change.lead(outcome, untouched))
    yield from _edits(outcome)
    if found:
        before = outcome.repair.before
        newest = max(range(len(found)), key=lambda place: newest_of(found[place].members))
        labels = [
            f"{places(before, pair.members)} {_turn(pair.before.sign, pair.after.sign)}"
            for pair in found
        ]
        engines = wording.engines(outcome.repair.before.engines)
        yield from choice(_NUMBER, f"{engines} release, before and after", labels, newest)
        grids = (side.grid for pair in found for side in (pair.before, pair.after))
        yield from legend(grids, wording.builders(outcome.repair.before.engines))
    for place, pair in enumerate(found):
        yield from _panel(outcome, pair, place)
    yield from _left(outcome)
    yield from not_counted(outcome.repair.checked)
    yield from _diff(outcome)
    if command:
        yield f"<p>Made by {code(command)}.</p>\n"
    yield "</section>\n"


def _verdict(outcome: Delivered) -> str:
    """What `check` says of the files before, and what it would say after."""
    made = outcome.repair
    after = _sentence(made.checked)
    return (
        f"{_sentence(outcome.repair.checked_before, 'Before')}{after}"
        if outcome.repair.changes
        else after
    )


def _sentence(report: Report, when: str = "After") -> str:
    said = prose(f"{when}: {wording.sentence(report)}.")
    return f"<span>{signed(wording.overall(report), said)}</span>"


def _turn(before: Sign, after: Sign) -> str:
    """What becomes of an outcome; one that stays is said once."""
    if before == after:
        return signed(after)
    return f'{signed(before)} <span class="quiet">→</span> {signed(after)}'


def _edits(outcome: Delivered) -> Iterator[str]:
    """What is added, taken out and corrected, an item each."""
    items = list(change.edits(outcome))
    if items:
        yield '<ul class="edits">\n'
        yield from (f"<li>{prose(item)}</li>\n" for item in items)
        yield "</ul>\n"


def _panel(outcome: Delivered, pair: Pair, place: int) -> Iterator[str]:
    name, numbers = places(outcome.repair.before, pair.members), Numbers(f"{_NUMBER}g{place}")
    yield f'<div class="panel" data-g="{place}">\n'
    yield f"<h2>{name}: {_turn(pair.before.sign, pair.after.sign)}</h2>\n"
    yield '<div class="beside">\n'
    for title, side in (("before", pair.before), ("after", pair.after)):
        yield f"<div>\n<h3>{title.capitalize()}: {signed(side.sign)}</h3>\n"
        yield f"<p>{prose(side.behind)}</p>\n" if side.behind else ""
        yield from scrolled(side.grid, f"{name}, {title}", numbers)
        yield "</div>\n"
    yield "</div>\n"
    yield from numbers.lists()
    yield "</div>\n"


def _left(outcome: Delivered) -> Iterator[str]:
    """Findings that no metadata fixes, or that this repair leaves."""
    stays = change.unfixed(outcome)
    if stays:
        yield "<h2>Not fixed</h2>\n"
    for each in stays:
        yield from finding(each, outcome.repair.after)


def _diff(outcome: Delivered) -> Iterator[str]:
    """The change of the files, line by line."""
    if not outcome.repair.diff:
        return
    yield '<h2>Diff</h2>\n<pre class="diff" tabindex="0">'
    for line in change.diff_lines(outcome):
        mood = {"+": "good", "-": "bad", "@": "quiet"}.get(line[:1], "")
        shown = escape(line)
        yield f'<span class="{mood}">{shown}</span>\n' if mood else f"{shown}\n"
    yield "</pre>\n"
