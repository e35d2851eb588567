"""`graft --drop`: the declaration of a block that is not to be had, taken out."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

import shlex
from typing import TYPE_CHECKING

from mtpfix.cli import options, output
from mtpfix.cli.options import RepairFormat

if TYPE_CHECKING:
    from mtpfix.cli.grafts import Show
    from mtpfix.cli.ways import Way
    from mtpfix.dropping import Drop
    from mtpfix.pushing import Landed
    from mtpfix.report.rewrite import Outcome
    from mtpfix.selection import Selected


def drop(
    target: str,
    way: "Way",
    chosen: "Selected",
    show: "Show",
    *,
    revision: str | None,
    token: str | None,
) -> int:
    """Take the declaration out where that is wanted; return the exit code."""
    from mtpfix import dropping
    from mtpfix.report import change
    from mtpfix.rules.presence import LOST

    words = ["mtpfix", "graft", way.wish.repo_id or target, "--drop"]
    words += options.selecting(chosen)
    command = shlex.join(words)
    with output.working("trying on every release what takes the declaration out"):
        made, pushed = dropping.drop(
            target,
            **chosen,
            revision=revision,
            token=token,
            do=way.write,
            output=way.output,
            backup=way.backup,
            wish=way.wish if way.push else None,
            describe=lambda made: change.render(_dropped(made, way), command),
        )
    outcome = _dropped(made, way, pushed)
    before = outcome.checked_before
    if made.plan.files and before.exit_code and not {f.code for f in before.findings} & {*LOST}:
        output.note("note: the block is there, and whole; `mtpfix rewrite` may repair its metadata")
    _emit_drop(outcome, command, show)
    return outcome.exit_code


def _dropped(made: "Drop", way: "Way", pushed: "Landed | None" = None) -> "Outcome":
    from mtpfix.repair.plan import nothing
    from mtpfix.report.rewrite import Outcome

    return Outcome(
        before=made.plan.before[0],
        after=made.plan.after[0],
        checked_before=made.plan.before[1],
        checked=made.plan.after[1],
        selection=made.selection,
        plan=nothing(),
        diff=made.plan.diff,
        files=tuple(made.plan.files),
        written=way.write and bool(made.plan.files),
        output=way.output,
        backup=way.backup,
        pushed=pushed,
    )


def _emit_drop(outcome: "Outcome", command: str, show: "Show") -> None:
    from mtpfix.report import change, html_change, rewrite

    if show.form is RepairFormat.json:
        output.emit(rewrite.json(outcome), show.file)
    elif show.form is RepairFormat.markdown:
        output.emit(change.render(outcome, command), show.file)
    elif show.form is RepairFormat.html:
        output.emit(html_change.render(outcome, command), show.file)
    else:
        screen = output.result_screen(show.color.value, show.file)
        output.emit(rewrite.seen(outcome.diff, color=screen.color), show.file)
        output.note(
            rewrite.text(
                outcome,
                screen.width,
                color=screen.color,
                verbose=show.verbose,
                ascii=screen.ascii,
            )
        )
