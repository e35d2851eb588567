"""A repair as Markdown: the text of a pull request, before and after side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mtpfix import __version__
from mtpfix.model import EngineReport, Report
from mtpfix.report import ranges, wording
from mtpfix.report.inert_text import inert
from mtpfix.report.markdown import outcome as outcome_of
from mtpfix.report.markdown_text import code, details, fenced, prose, table
from mtpfix.report.rewrite import Outcome, left, needed_alone

_DIFF = 30_000
"""Characters of the diff that are shown: a forge has its own."""
_LINE = 500
_UNTOUCHED = "no values of weights"
"""What stays where tensors get other names."""
_LEFT = 30


def render(outcome: Outcome, command: str = "", *, untouched: str = "no weights") -> str:
    """What a repair changes, what comes of it on each release, and what it leaves.

    Args:
        outcome: the repair.
        command: the command line that made it; empty: it is not told.
        untouched: what it does not change.
    """
    blocks = [_head(outcome, untouched), _table(outcome), _entries(outcome), _left(outcome)]
    blocks += [_diff(outcome), _foot(outcome, command)]
    return "\n\n".join("\n".join(lines) for block in blocks if (lines := list(block))) + "\n"


def _head(outcome: Outcome, untouched: str) -> Iterator[str]:
    if outcome.refused is not None:
        yield prose(f"No repair: {outcome.refused.message}.")
    elif outcome.files:
        files = ", ".join(map(code, outcome.files))
        yield (
            f"{wording.builders(outcome.before.engines)} the MTP draft according to the "
            "quantization metadata of the whole model. This change makes the metadata match "
            f"{_stored(outcome.before)}. It edits {files} and changes "
            f"{_UNTOUCHED if outcome.renames else untouched}."
        )
    else:
        said = wording.sentence(outcome.checked)
        yield prose(f"Nothing to change: {said}.")


def _stored(report: Report) -> str:
    """What the metadata speaks of: a draft from elsewhere has a name, and a folder only that."""
    draft = report.draft
    if draft is None:
        return "what is on disk"
    named = draft.name if draft.kind == "hub" else Path(draft.name).name
    at = f" ({code(draft.revision)})" if draft.revision else ""
    return f"the MTP block of another checkpoint, {code(named)}{at}"


def _table(outcome: Outcome) -> list[str]:
    """Releases that share both outcomes in a row."""
    after = {(e.engine, e.version, e.platform): e for e in outcome.after.engines}
    groups: dict[tuple[str, str], list[EngineReport]] = {}
    for engine in sorted(outcome.before.engines, key=lambda e: ranges.age(e.version)):
        then = after.get((engine.engine, engine.version, engine.platform), engine)
        groups.setdefault((_cell(engine), _cell(then)), []).append(engine)
    cells = [
        (prose(wording.release_ranges(members, outcome.before.engines)), before, later)
        for (before, later), members in groups.items()
    ]
    head = wording.heading(outcome.before.engines)
    return table((head, "before", "after"), cells) if cells else []


def _cell(engine: EngineReport) -> str:
    if engine.outcome in ("clean", "no_mtp"):
        return outcome_of(engine)
    return f"{outcome_of(engine)}: {prose(wording.outcome(engine), 300)}"


def _entries(outcome: Outcome) -> Iterator[str]:
    for verb, entries in (("Added", outcome.plan.added), ("Removed", outcome.plan.removed)):
        if entries:
            yield f"{verb}: {', '.join(code(text) + _needed(text, outcome) for text in entries)}"
    for done in outcome.index.done:
        yield f"In {code(outcome.index.file)}: {prose(done)}"
    for file in outcome.renames.files:
        for (old, new), number in outcome.renames.ends(file).items():
            said = wording.count(number, "tensor")
            yield f"Renamed: {said} of {code(file)}, {code(old)} to {code(new)}"


def _needed(entry: str, outcome: Outcome) -> str:
    """Say for whom an entry is made, where several engines are planned for and not all need it."""
    alone = needed_alone(entry, outcome)
    return f" (for {prose(alone)} alone)" if alone else ""


def _left(outcome: Outcome) -> Iterator[str]:
    """Findings that no metadata fixes, or that this repair leaves."""
    stays = [f for f in left(outcome.plan, outcome.after) if f.severity != "info"]
    if stays:
        yield "Not fixed:"
        yield ""
    for finding in stays[:_LEFT]:
        reach = wording.reach(finding, outcome.after.engines)
        where = f" ({reach})" if reach is not None else ""
        yield f"- {prose(finding.code)} {finding.severity}: {prose(finding.message)}{where}"
    if len(stays) > _LEFT:
        yield f"- … and {len(stays) - _LEFT} more"


def _diff(outcome: Outcome) -> list[str]:
    if not outcome.diff:
        return []
    lines = [
        inert(line.expandtabs(4).rstrip("\r"), _LINE) for line in outcome.diff.split("\n")[:-1]
    ]
    shown = "\n".join(lines)
    if len(shown) > _DIFF:
        shown = f"{shown[:_DIFF]}\n…"
    return details("Diff", fenced(shown, "diff"))


def _foot(outcome: Outcome, command: str) -> Iterator[str]:
    made = f" {__version__}" + (f": {code(command, 500)}" if command else "")
    yield f"{_judged(outcome.after)}Made by mtpfix{made}"


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
