"""`inspect` and `check`: the report, and the gate."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import typer

from mtpfix.cli import audits, baselines, gate, options, output, rendering, settings
from mtpfix.cli.options import Color, FailOn, ReportFormat
from mtpfix.cli.output import Screen
from mtpfix.errors import UsageError
from mtpfix.report.inert_text import inert

if TYPE_CHECKING:
    from mtpfix.model import Report
    from mtpfix.selection import Selection


class Reached(NamedTuple):
    """How a target is reached, and its draft."""

    draft: str | None
    revision: str | None
    token: str | None


def inspect(
    target: options.TargetArg = ".",
    vllm: options.VllmNewest = None,
    sglang: options.Sglang = None,
    platform: options.PlatformCuda = None,
    engine: options.EngineOption = None,
    *,
    context: typer.Context,
    trunk: options.Trunk = False,
    draft: options.Draft = None,
    values: options.Values = False,
    revision: options.Revision = None,
    token: options.Token = None,
    select: options.Select = None,
    ignore: options.Ignore = None,
    fail_on: options.FailOnOption = FailOn.error,
    output_format: options.ReportFormatOption = ReportFormat.text,
    output_file: options.OutputFile = None,
    also: options.Also = None,
    color: options.ColorOption = Color.auto,
    verbose: options.Verbose = False,
) -> None:
    """Show what is on disk, what vLLM and SGLang build, and where they differ.

    The exit code is 0 if mtpfix could read and judge the checkpoint. The exit code of `check` is
    `exit_code` in the JSON.
    """
    wish = gate.wish(select, ignore, fail_on.value, settings.ignores(context))
    copies = rendering.copies(also)
    trunk = trunk or output_format is ReportFormat.html
    selection = options.selection(vllm, engine, platform, sglang)
    reached = Reached(draft, revision, token)
    judged = _judged(target, selection, reached, trunk=trunk, values=values)
    report = _gated(judged, wish)
    person = partial(_text, verbose=verbose)
    rendering.emit(report, person, form=output_format, file=output_file, color=color, also=copies)
    raise typer.Exit(gate.readable(report))


def check(
    targets: options.TargetsArg = None,
    vllm: options.VllmNewest = None,
    sglang: options.Sglang = None,
    platform: options.PlatformCuda = None,
    engine: options.EngineOption = None,
    *,
    context: typer.Context,
    from_file: options.FromFile = None,
    org: options.Owner = None,
    jobs: options.Jobs = 8,
    draft: options.Draft = None,
    values: options.Values = False,
    fixes: options.Fixes = False,
    revision: options.Revision = None,
    token: options.Token = None,
    select: options.Select = None,
    ignore: options.Ignore = None,
    baseline: options.BaselineFile = None,
    write_baseline: options.WriteBaseline = None,
    fail_on: options.FailOnOption = FailOn.error,
    output_format: options.ReportFormatOption = ReportFormat.text,
    output_file: options.OutputFile = None,
    also: options.Also = None,
    color: options.ColorOption = Color.auto,
    verbose: options.Verbose = False,
) -> None:
    """Judge a checkpoint as `inspect` does, and fail if something is wrong: a gate for CI.

    Several targets are judged one by one, with a line for each; the exit code is the worst of all.
    """
    wish = gate.wish(select, ignore, fail_on.value, settings.ignores(context))
    wish = baselines.opened(wish, baseline, write_baseline)
    copies = rendering.copies(also)
    selection = options.selection(vllm, engine, platform, sglang)
    many = from_file is not None or org is not None or len(targets or ()) > 1
    if not many:
        target = targets[0] if targets else "."
        reached = Reached(draft, revision, token)
        judged = _judged(target, selection, reached, values=values, fixes=fixes, gated=True)
        if write_baseline is not None:
            wish = baselines.write(write_baseline, [judged], wish)
        report = _gated(judged, wish)
        person = partial(_text, verbose=True) if verbose else _brief
        rendering.emit(
            report, person, form=output_format, file=output_file, color=color, also=copies
        )
        raise typer.Exit(rendering.exit_code(report.exit_code, output_format))
    if revision is not None:
        raise UsageError("--revision works with one target only", "write org/name@revision")
    if draft is not None:
        raise UsageError(
            "--draft works with one target only", "check each target with its own draft"
        )
    every = audits.gathered(targets, from_file, org, token)
    if not every:
        raise UsageError("there is no target: the list is empty", "name a folder or a repo")
    found = audits.audited(every, selection, token=token, jobs=jobs, values=values, fixes=fixes)
    if write_baseline is not None:
        judged_all = [row.report for row in found if row.report is not None]
        wish = baselines.write(write_baseline, judged_all, wish)
    rows, notes = audits.gated(found, wish)
    audits.emit(rows, notes, form=output_format, file=output_file, color=color, also=copies)
    raise typer.Exit(rendering.exit_code(audits.worst(rows), output_format))


def _judged(
    target: str,
    selection: "Selection",
    reached: Reached,
    *,
    trunk: bool = False,
    values: bool = False,
    fixes: bool = True,
    gated: bool = False,
) -> "Report":
    """Return the report on a target, with all of its findings."""
    from mtpfix import calls
    from mtpfix.targets import Reference

    at = Reference(target, reached.draft, reached.revision, reached.token)
    with output.working(f"reading {inert(target)}"):
        return calls.inspect(at, selection, trunk=trunk, values=values, fixes=fixes, gate=gated)


def _gated(judged: "Report", wish: gate.Wish) -> "Report":
    """Return the report with the findings that count, and what is to be said of the ignores."""
    report = gate.gated(judged, wish)
    return replace(report, notes=(*report.notes, *gate.idle([judged], wish)))


def _text(report: "Report", screen: Screen, *, verbose: bool) -> str:
    from mtpfix.report import text

    return text.render(
        report, width=screen.width, color=screen.color, verbose=verbose, ascii=screen.ascii
    )


def _brief(report: "Report", screen: Screen) -> str:
    """A line for each finding and note, then the verdict."""
    from mtpfix.report import findings

    return findings.brief(report, _width(screen), color=screen.color, ascii=screen.ascii)


def _width(screen: Screen) -> int | None:
    """Columns to wrap at: where no person looks, a finding stays one line."""
    return screen.width if screen.tty else None
