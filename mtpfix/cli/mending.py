"""`rewrite` and `override`: the repair, in the files or at serve time."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtpfix.cli import gate, options, output
from mtpfix.cli.options import Color, FailOn, Format, RepairFormat
from mtpfix.errors import RefusedError, UsageError
from mtpfix.model import PLATFORMS, Platform

if TYPE_CHECKING:
    from mtpfix.report.rewrite import Outcome


def rewrite(
    target: options.TargetArg = ".",
    vllm: options.VllmAll = None,
    platform: options.PlatformAll = None,
    *,
    write: Annotated[bool, options.option("--write", help="Edit the files in place.")] = False,
    output_dir: Annotated[
        Path | None,
        options.option(
            "--output", metavar="DIR", help="Make a folder: links, and the repaired JSON."
        ),
    ] = None,
    no_backup: Annotated[
        bool, options.option("--no-backup", help="With --write: keep no copy of the old files.")
    ] = False,
    engine_names_only: options.EngineNamesOnly = False,
    repair_trunk: options.RepairTrunk = False,
    select: options.Select = None,
    ignore: options.Ignore = None,
    fail_on: options.FailOnOption = FailOn.error,
    output_format: options.RepairFormatOption = RepairFormat.text,
    output_file: options.OutputFile = None,
    color: options.ColorOption = Color.auto,
    verbose: options.Verbose = False,
) -> None:
    """Repair the metadata with the fewest entries that are right; shows a diff by default.

    The diff goes to stdout, what it means to stderr. Nothing is written without --write or
    --output.
    """
    from mtpfix import api
    from mtpfix.repair.plan import Options
    from mtpfix.report import rewrite as renderer

    if write and output_dir is not None:
        raise UsageError("--write and --output exclude each other", "choose one of them")
    wish = gate.wish(select, ignore, fail_on.value)
    folder = options.local(target)
    wanted = options.releases(vllm, "all")
    places = options.platforms(platform, PLATFORMS)
    allowed = Options(engine_names_only=engine_names_only, repair_trunk=repair_trunk)
    with output.working("trying repairs on every release"):
        if write or output_dir is not None:
            made = api.rewrite(
                folder,
                vllm=wanted,
                platforms=places,
                options=allowed,
                output=output_dir,
                backup=not no_backup,
            )
        else:
            made = api.plan(folder, vllm=wanted, platforms=places, options=allowed)
    outcome = renderer.Outcome(
        before=gate.gated(made.before, wish),
        after=gate.gated(made.after, wish),
        plan=made.plan,
        diff=made.diff,
        files=tuple(made.files),
        written=write and bool(made.files),
        output=output_dir,
        backup=not no_backup,
        named=frozenset(name for finding in made.after.findings for name in finding.modules),
    )
    if output_format is RepairFormat.json:
        output.emit(renderer.json(outcome), output_file)
    elif output_format is RepairFormat.markdown:
        from mtpfix.report import change

        output.emit(change.render(outcome, _command(target, vllm, places)), output_file)
    elif outcome.plan.refused is not None:
        raise RefusedError(outcome.plan.refused, "see `mtpfix inspect` for each module")
    else:
        _show(outcome, color, output_file, verbose=verbose)
    raise typer.Exit(outcome.exit_code)


def _command(target: str, vllm: Iterable[str] | None, places: Sequence[Platform]) -> str:
    """The command line that makes the same repair."""
    words = ["mtpfix", "rewrite", target]
    words += [word for release in vllm or () for word in ("--vllm", release)]
    if tuple(places) != PLATFORMS:
        words += [word for platform in places for word in ("--platform", platform)]
    return shlex.join(words)


def _show(outcome: Outcome, color: Color, file: Path | None, *, verbose: bool) -> None:
    """The diff on stdout, what it means on stderr."""
    from mtpfix.report import rewrite as renderer

    result = output.result_screen(color.value, file)
    if result.color or result.tty:
        output.emit(renderer.seen(outcome.diff, color=result.color), file)
    elif outcome.diff or file is not None:
        output.emit(outcome.diff, file)
    error = output.screen(sys.stderr, color.value)
    meaning = renderer.text(
        outcome, error.width, color=error.color, verbose=verbose, ascii=error.ascii
    )
    output.note(meaning)


def override(
    target: options.TargetArg = ".",
    vllm: options.VllmAll = None,
    platform: options.PlatformAll = None,
    *,
    engine_names_only: options.EngineNamesOnly = False,
    repair_trunk: options.RepairTrunk = False,
    output_format: options.FormatOption = Format.text,
    output_file: options.OutputFile = None,
) -> None:
    """Show the same repair as serve-time flags, for a repository that you cannot edit.

    Text is quoted for a shell; json is the value of --hf-overrides alone.
    """
    from mtpfix import api
    from mtpfix.repair.plan import Options

    with output.working("trying repairs on every release"):
        made = api.override(
            options.local(target),
            vllm=options.releases(vllm, "all"),
            platforms=options.platforms(platform, PLATFORMS),
            options=Options(engine_names_only=engine_names_only, repair_trunk=repair_trunk),
        )
    if not made.value and made.repair.before.exit_code == 0:
        output.note("nothing to change: no override is needed")
    elif not made.value:
        output.note("no override would help: see `mtpfix inspect` for what is wrong")
    elif made.repair.after.exit_code:
        output.note("not all is mended: see `mtpfix rewrite` for what stays wrong, and where")
    if output_format is Format.json:
        output.emit(f"{made.value or '{}'}\n", output_file)
    elif made.value:
        output.emit(f"--hf-overrides {shlex.quote(made.value)}\n", output_file)
    raise typer.Exit(made.repair.after.exit_code)
