"""`rewrite` and `override`: the repair, in the files or at serve time."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from mtpfix.cli import gate, options, output
from mtpfix.cli.options import Color, FailOn, Format, RepairFormat
from mtpfix.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from mtpfix.api import Repair
    from mtpfix.model import Platform
    from mtpfix.pushing import Push, Pushed
    from mtpfix.repair.plan import Options
    from mtpfix.report.rewrite import Outcome


@dataclass(frozen=True, slots=True)
class _Way:
    """Where a repair goes; by default nowhere: it is shown."""

    write: bool
    output: Path | None
    backup: bool
    push: bool
    wish: "Push"


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
    push_to_hub: Annotated[
        bool, options.option("--push-to-hub", help="Commit the repaired JSON to the Hub.")
    ] = False,
    create_pr: Annotated[
        bool, options.option("--create-pr", help="With --push-to-hub: open a pull request.")
    ] = False,
    repo_id: Annotated[
        str,
        options.option("--repo-id", metavar="REPO", help="Repo that a folder is pushed to."),
    ] = "",
    commit_message: Annotated[
        str, options.option("--commit-message", metavar="TEXT", help="Title of the commit.")
    ] = "",
    allow_partial: Annotated[
        bool,
        options.option("--allow-partial", help="Push although something no metadata can mend."),
    ] = False,
    dry_run: Annotated[
        bool, options.option("--dry-run", help="With --push-to-hub: do all but the commit.")
    ] = False,
    engine_names_only: options.EngineNamesOnly = False,
    repair_trunk: options.RepairTrunk = False,
    draft: options.Draft = None,
    revision: options.Revision = None,
    token: options.Token = None,
    select: options.Select = None,
    ignore: options.Ignore = None,
    fail_on: options.FailOnOption = FailOn.error,
    output_format: options.RepairFormatOption = RepairFormat.text,
    output_file: options.OutputFile = None,
    color: options.ColorOption = Color.auto,
    verbose: options.Verbose = False,
) -> None:
    """Repair the metadata with the fewest entries that are right; shows a diff by default.

    The diff goes to stdout, what it means to stderr. Nothing is written without --write,
    --output or --push-to-hub.
    """
    from mtpfix.pushing import Push
    from mtpfix.repair.plan import Options
    from mtpfix.report import change
    from mtpfix.report import rewrite as renderer

    chosen = _Chosen(
        vllm=options.releases(vllm, "all"),
        platforms=options.platforms(platform),
        options=Options(engine_names_only, repair_trunk, chosen_releases=vllm is not None),
        draft=draft,
        revision=revision,
        token=token,
    )
    wish = gate.wish(select, ignore, fail_on.value)
    command = _command(target, vllm, chosen)

    def describe(made: "Repair") -> str:
        return change.render(_outcome(made, way, wish), command)

    how = Push(repo_id, create_pr, commit_message, describe, allow_partial, dry_run)
    way = _Way(write, output_dir, not no_backup, push_to_hub, how)
    _refuse_contradictions(way)
    with output.working("trying repairs on every release"):
        made, pushed = _made(target, way, chosen)
    outcome = _outcome(made, way, wish, pushed)
    if output_format is RepairFormat.json:
        output.emit(renderer.json(outcome), output_file)
    elif output_format is RepairFormat.markdown:
        output.emit(change.render(outcome, command), output_file)
    elif outcome.plan.refused is not None:
        raise RefusedError(outcome.plan.refused, "see `mtpfix inspect` for each module")
    else:
        _show(outcome, color, output_file, verbose=verbose)
    raise typer.Exit(outcome.exit_code)


def _outcome(
    made: "Repair", way: _Way, wish: gate.Wish, pushed: "Pushed | None" = None
) -> "Outcome":
    """What is told of a repair, with the findings that count."""
    from mtpfix.report import rewrite as renderer

    return renderer.Outcome(
        before=gate.gated(made.before, wish),
        after=gate.gated(made.after, wish),
        plan=made.plan,
        diff=made.diff,
        files=tuple(made.files),
        written=way.write and bool(made.files),
        output=way.output,
        backup=way.backup,
        named=frozenset(name for finding in made.after.findings for name in finding.modules),
        pushed=pushed,
    )


class _Chosen(TypedDict):
    """What all calls of the library take."""

    vllm: tuple[str, ...]
    platforms: tuple["Platform", ...]
    options: "Options"
    draft: str | None
    revision: str | None
    token: str | None


def _refuse_contradictions(way: _Way) -> None:
    if (way.write, way.output is not None, way.push).count(True) > 1:
        raise UsageError(
            "--write, --output and --push-to-hub exclude each other", "choose one of them"
        )
    asked = way.wish.create_pr or way.wish.dry_run or way.wish.allow_partial
    if not way.push and (asked or way.wish.repo_id or way.wish.message):
        raise UsageError(
            "--create-pr, --repo-id, --commit-message, --allow-partial and --dry-run say how a "
            "repair is pushed",
            "add --push-to-hub",
        )


def _made(target: str, way: _Way, chosen: _Chosen) -> tuple["Repair", "Pushed | None"]:
    """The repair, made where it was wanted."""
    from mtpfix import api, pushing, targets

    if way.push:
        pushed = pushing.push(target, wish=way.wish, **chosen)
        return pushed.repair, pushed
    if not way.write and way.output is None:
        return api.plan(target, **chosen), None
    targets.place(target, chosen["revision"])
    made = api.rewrite(
        target,
        vllm=chosen["vllm"],
        platforms=chosen["platforms"],
        options=chosen["options"],
        draft=chosen["draft"],
        output=way.output,
        backup=way.backup,
    )
    return made, None


def _elsewhere(draft: str) -> str:
    """How a draft is named where others read it: of a folder, only its name."""
    from mtpfix import targets

    path = targets.place(draft).path
    return draft if path is None else path.name


def _command(target: str, vllm: Iterable[str] | None, chosen: _Chosen) -> str:
    """The command line that makes the same repair."""
    words = ["mtpfix", "rewrite", target]
    words += ["--draft", _elsewhere(chosen["draft"])] if chosen["draft"] else []
    words += [word for release in vllm or () for word in ("--vllm", release)]
    if chosen["platforms"] != options.platforms(None):
        words += [word for platform in chosen["platforms"] for word in ("--platform", platform)]
    return shlex.join(words)


def _show(outcome: "Outcome", color: Color, file: Path | None, *, verbose: bool) -> None:
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
    draft: options.Draft = None,
    revision: options.Revision = None,
    token: options.Token = None,
    output_format: options.FormatOption = Format.text,
    output_file: options.OutputFile = None,
) -> None:
    """Show the same repair as serve-time flags, for a repository that you cannot edit.

    Text is quoted for a shell; json is the value of --hf-overrides alone. Where no override
    can reach the draft, it says so and exits 3.
    """
    from mtpfix import api
    from mtpfix.repair.plan import Options

    with output.working("trying repairs on every release"):
        made = api.override(
            target,
            vllm=options.releases(vllm, "all"),
            platforms=options.platforms(platform),
            options=Options(engine_names_only, repair_trunk, chosen_releases=vllm is not None),
            draft=draft,
            revision=revision,
            token=token,
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
