"""`inspect` and `check`: the judgement, and the gate."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

import typer

from mtpfix.cli import gate, options, output
from mtpfix.cli.options import Color, FailOn, Format
from mtpfix.cli.output import Screen
from mtpfix.model import Report


def inspect(
    target: options.TargetArg = ".",
    vllm: options.VllmNewest = None,
    platform: options.PlatformCuda = None,
    *,
    trunk: options.Trunk = False,
    select: options.Select = None,
    ignore: options.Ignore = None,
    fail_on: options.FailOnOption = FailOn.error,
    output_format: options.FormatOption = Format.text,
    output_file: options.OutputFile = None,
    color: options.ColorOption = Color.auto,
    verbose: options.Verbose = False,
) -> None:
    """Show what is on disk, what vLLM builds, and where they part.

    Exits 0 whenever it could read and judge; `exit_code` in the JSON is that of `check`.
    """
    from mtpfix import api

    wish = gate.wish(select, ignore, fail_on.value)
    report = api.inspect(
        options.local(target),
        vllm=options.releases(vllm, "newest"),
        platforms=options.platforms(platform, ("cuda",)),
        trunk=trunk,
    )
    report = gate.gated(report, wish)
    if output_format is Format.json:
        text = _json(report)
    else:
        screen = output.result_screen(color.value, output_file)
        text = _text(report, screen, verbose=verbose)
    output.emit(text, output_file)
    raise typer.Exit(gate.readable(report))


def check(
    target: options.TargetArg = ".",
    vllm: options.VllmNewest = None,
    platform: options.PlatformCuda = None,
    *,
    select: options.Select = None,
    ignore: options.Ignore = None,
    fail_on: options.FailOnOption = FailOn.error,
    output_format: options.FormatOption = Format.text,
    output_file: options.OutputFile = None,
    color: options.ColorOption = Color.auto,
    verbose: options.Verbose = False,
) -> None:
    """Judge as `inspect` does, and fail where something is wrong: the gate for CI."""
    from mtpfix import api

    wish = gate.wish(select, ignore, fail_on.value)
    report = api.check(
        options.local(target),
        vllm=options.releases(vllm, "newest"),
        platforms=options.platforms(platform, ("cuda",)),
    )
    report = gate.gated(report, wish)
    if output_format is Format.json:
        text = _json(report)
    else:
        screen = output.result_screen(color.value, output_file)
        text = _text(report, screen, verbose=True) if verbose else _brief(report, screen)
    output.emit(text, output_file)
    raise typer.Exit(report.exit_code)


def _json(report: Report) -> str:
    from mtpfix.report import json

    return json.render(report)


def _text(report: Report, screen: Screen, *, verbose: bool) -> str:
    from mtpfix.report import text

    return text.render(
        report, width=screen.width, color=screen.color, verbose=verbose, ascii=screen.ascii
    )


def _brief(report: Report, screen: Screen) -> str:
    """A line for each finding and note, then the verdict."""
    from mtpfix.report import findings

    return findings.brief(report, _width(screen), color=screen.color, ascii=screen.ascii)


def _width(screen: Screen) -> int | None:
    """Columns to wrap at: where no person looks, a finding stays one line."""
    return screen.width if screen.tty else None
