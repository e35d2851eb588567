"""A repair as Markdown: the text of a pull request, before and after side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mtpfix import __version__
from mtpfix.delivery import Delivered
from mtpfix.model import EngineReport, Finding, ModuleReport, Report
from mtpfix.report import ranges, rows, wording
from mtpfix.report.inert_text import inert
from mtpfix.report.markdown import not_counted
from mtpfix.report.markdown import outcome as outcome_of
from mtpfix.report.markdown_text import code, details, fenced, prose, table
from mtpfix.report.rewrite import left, needed_alone

_DIFF = 30_000
"""Characters of the diff that are shown: a forge has its own."""
_LINE = 500
_UNTOUCHED = "no values of weights"
"""What stays where tensors get other names."""
_LEFT = 30
_ROWS = 100


def render(outcome: Delivered, command: str = "", *, untouched: str = "no weights") -> str:
    """What a repair changes, what comes of it on each release, and what it leaves.

    Args:
        outcome: the repair.
        command: the command line that made it; empty: it is not told.
        untouched: what it does not change.
    """
    blocks = [map(prose, lead(outcome, untouched)), _table(outcome), map(prose, edits(outcome))]
    blocks += [*_modules(outcome), _left(outcome), not_counted(outcome.repair.checked)]
    blocks += [_diff(outcome), _foot(outcome, command)]
    return "\n\n".join("\n".join(lines) for block in blocks if (lines := list(block))) + "\n"


def lead(outcome: Delivered, untouched: str) -> Iterator[str]:
    """Yield what the repair is, in a sentence; names stand in backticks."""
    if outcome.refused is not None:
        yield f"No repair: {outcome.refused.message}."
    elif outcome.repair.changes:
        files = ", ".join(f"`{file}`" for file in outcome.repair.changes)
        yield (
            f"{wording.builders(outcome.repair.before.engines)} the MTP draft according to the "
            "quantization metadata of the whole model. This change makes the metadata match "
            f"{_stored(outcome.repair.before)}. It edits {files} and changes "
            f"{_UNTOUCHED if outcome.repair.renames else untouched}."
        )
    else:
        yield f"Nothing to change: {wording.sentence(outcome.repair.checked)}."


def _stored(report: Report) -> str:
    """What the metadata speaks of: a draft from elsewhere has a name, and a folder only that."""
    draft = report.draft
    if draft is None:
        return "what is on disk"
    named = draft.name if draft.kind == "hub" else Path(draft.name).name
    at = f" (`{draft.revision}`)" if draft.revision else ""
    return f"the MTP block of another checkpoint, `{named}`{at}"


def turns(outcome: Delivered) -> Iterator[tuple[EngineReport, EngineReport]]:
    """Yield each release on each platform before the repair, and after it; oldest first."""
    after = {_place(engine): engine for engine in outcome.repair.after.engines}
    for engine in wording.in_order(outcome.repair.before.engines):
        yield engine, after.get(_place(engine), engine)


def _place(engine: EngineReport) -> tuple[str, str, str]:
    return engine.engine, engine.version, engine.platform


def _table(outcome: Delivered) -> list[str]:
    """Releases that share both outcomes in a row."""
    groups: dict[tuple[str, str, str], list[EngineReport]] = {}
    for engine, then in turns(outcome):
        groups.setdefault((engine.engine, _cell(engine), _cell(then)), []).append(engine)
    cells = [
        (prose(wording.release_ranges(members, outcome.repair.before.engines)), before, later)
        for (_, before, later), members in groups.items()
    ]
    head = wording.heading(outcome.repair.before.engines)
    return table((head, "before", "after"), cells) if cells else []


def _cell(engine: EngineReport) -> str:
    if engine.outcome in ("clean", "no_mtp"):
        return outcome_of(engine)
    return f"{outcome_of(engine)}: {prose(wording.outcome(engine), 300)}"


def edits(outcome: Delivered) -> Iterator[str]:
    """Yield what is given, added, taken out, corrected and renamed; names stand in backticks."""
    for given in outcome.repair.plan.schemes:
        yield f"Modules get their scheme: {given}"
    if outcome.repair.plan.metadata_copied:
        yield "Copied: the metadata, into the text configuration, where the draft reads them"
    for verb, entries in (
        ("Added", outcome.repair.plan.added),
        ("Removed", outcome.repair.plan.removed),
    ):
        if entries:
            yield f"{verb}: {', '.join(f'`{text}`{_needed(text, outcome)}' for text in entries)}"
    for done in outcome.repair.index.done:
        yield f"In `{outcome.repair.index.file}`: {done}"
    for file in outcome.repair.renames.files:
        for (old, new), number in outcome.repair.renames.ends(file).items():
            yield f"Renamed: {wording.count(number, 'tensor')} of `{file}`, `{old}` to `{new}`"


def _needed(entry: str, outcome: Delivered) -> str:
    """Say for whom an entry is made, where several engines are planned for and not all need it."""
    alone = needed_alone(entry, outcome)
    return f" (for {alone} alone)" if alone else ""


def _modules(outcome: Delivered) -> Iterator[list[str]]:
    """Yield the draft on the newest release of each engine, before and after, folded away."""
    for name in dict.fromkeys(engine.engine for engine in outcome.repair.before.engines):
        own = (turn for turn in turns(outcome) if turn[0].engine == name)
        before, after = max(own, key=lambda turn: ranges.age(turn[0].version))
        cells = list(_rows(before, after))
        if outcome.repair.changes and cells:
            lines = table(("module", "on disk", "built before", "built after"), cells[:_ROWS])
            if len(cells) > _ROWS:
                lines += ["", f"… and {wording.count(len(cells) - _ROWS, 'row')} more."]
            on = f"{wording.engine(name)} {before.version} on {before.platform}"
            yield details(f"Draft modules before and after, {on}", lines)


def _rows(before: EngineReport, after: EngineReport) -> Iterator[tuple[str, str, str, str]]:
    """Yield the modules of a draft that are told in `after`, and what they were before."""
    was = {rows.name_of(module): module for module in before.modules}
    for module in after.modules:
        if module.decision.module.part == "draft" and rows.is_shown(module):
            name = rows.name_of(module)
            built = _built(was[name]) if name in was else ""
            yield code(name), prose(wording.stored(module.disk)), built, _built(module)


def _built(module: ModuleReport) -> str:
    sign = wording.verdict(module)
    return f"{sign.sign} {prose(wording.built(module.decision, short=True))}"


def unfixed(outcome: Delivered) -> list[Finding]:
    """Return the findings that no metadata fixes, or that this repair leaves."""
    return [f for f in left(outcome.repair.plan, outcome.repair.after) if f.severity != "info"]


def _left(outcome: Delivered) -> Iterator[str]:
    """Findings that no metadata fixes, or that this repair leaves, as a list."""
    stays = unfixed(outcome)
    if stays:
        yield "Not fixed:"
        yield ""
    for finding in stays[:_LEFT]:
        reach = wording.reach(finding, outcome.repair.after.engines)
        where = f" ({reach})" if reach is not None else ""
        yield f"- {prose(finding.code)} {finding.severity}: {prose(finding.message)}{where}"
    if len(stays) > _LEFT:
        yield f"- … and {len(stays) - _LEFT} more"


def diff_lines(outcome: Delivered) -> list[str]:
    """Return the diff, as much of it as is shown, harmless on any screen."""
    lines = [
        inert(line.expandtabs(4).rstrip("\r"), _LINE)
        for line in outcome.repair.diff.split("\n")[:-1]
    ]
    shown = "\n".join(lines)
    return [*shown[:_DIFF].split("\n"), "…"] if len(shown) > _DIFF else lines


def _diff(outcome: Delivered) -> list[str]:
    if not outcome.repair.diff:
        return []
    return details("Diff", fenced("\n".join(diff_lines(outcome)), "diff"))


def _foot(outcome: Delivered, command: str) -> Iterator[str]:
    made = f" {__version__}" + (f": {code(command, 500)}" if command else "")
    yield f"{_judged(outcome.repair.after)}Made by mtpfix{made}"


def _judged(report: Report) -> str:
    if not report.engines:
        return ""
    releases: dict[str, set[str]] = {}
    for engine in report.engines:
        releases.setdefault(engine.engine, set()).add(engine.version)
    platforms = ", ".join(dict.fromkeys(inert(e.platform) for e in report.engines))
    spans = " and ".join(
        f"{wording.engine(name)} {ranges.releases(own, own)} ({wording.count(len(own), 'release')})"
        for name, own in releases.items()
    )
    return f"Judged for {spans} on {platforms}. "
