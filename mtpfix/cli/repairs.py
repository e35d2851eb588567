"""`rewrite` and `override`: the repair, in the files or at serve time."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypedDict

import typer

from mtpfix.cli import gate, options, output, settings, ways
from mtpfix.cli.options import Color, FailOn, Format, RepairFormat
from mtpfix.cli.ways import Way
from mtpfix.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from mtpfix.api import Override
    from mtpfix.planning import Repair
    from mtpfix.pushing import Pushed
    from mtpfix.repair.plan import Options
    from mtpfix.report.rewrite import Outcome
    from mtpfix.selection import Selected


def rewrite(
    target: options.TargetArg = ".",
    vllm: options.VllmAll = None,
    sglang: options.Sglang = None,
    platform: options.PlatformAll = None,
    engine: options.EngineOption = None,
    *,
    context: typer.Context,
    write: Annotated[bool, options.acting("--write", help="Edit the files in place.")] = False,
    output_dir: Annotated[
        Path | None,
        options.acting(
            "--output",
            metavar="DIR",
            help="Make a new folder: links to the weights, and the repaired JSON files.",
        ),
    ] = None,
    no_backup: options.NoBackup = False,
    push_to_hub: Annotated[
        bool, options.acting("--push-to-hub", help="Commit the repaired JSON files to the Hub.")
    ] = False,
    create_pr: options.CreatePr = False,
    repo_id: options.RepoId = "",
    commit_message: options.CommitMessage = "",
    allow_partial: Annotated[
        bool,
        options.acting(
            "--allow-partial",
            help="Write a result even if it is as broken as the source, or push one that is only "
            "partly right. mtpfix never makes anything worse.",
        ),
    ] = False,
    dry_run: options.DryRun = False,
    engine_names_only: options.EngineNamesOnly = False,
    repair_trunk: options.RepairTrunk = False,
    rename_tensors: options.RenameTensors = False,
    rename_in_place: options.RenameInPlace = False,
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
    """Repair the metadata with the fewest right entries; by default, only show a diff.

    The diff goes to stdout, and its explanation to stderr. Nothing is written without --write,
    --output or --push-to-hub.

    mtpfix plans the repair for every release and platform that supports the family. The exit code
    is 0 if the newest release is right on cuda, or all that --vllm, --engine and --platform
    select, and if no change is left to write. Otherwise it is 1.
    """
    from mtpfix.pushing import Push
    from mtpfix.repair.plan import Options
    from mtpfix.report import change, html_change
    from mtpfix.report import rewrite as renderer

    chosen = options.selected(vllm, engine, platform, sglang)
    asked = _Asked(
        options=Options(
            engine_names_only,
            repair_trunk,
            rename_tensors=rename_tensors,
            rename_in_place=rename_in_place,
        ),
        draft=draft,
        revision=revision,
        token=token,
    )
    wish = gate.wish(select, ignore, fail_on.value, settings.ignores(context))
    command = _command(repo_id or target, chosen, asked)  # nobody else has the folder

    def describe(made: "Repair") -> str:
        return change.render(_outcome(made, way, wish), command)

    how = Push(repo_id, create_pr, commit_message, describe, allow_partial, dry_run)
    way = Way(write, output_dir, not no_backup, push_to_hub, how)
    _refuse_contradictions(way, asked)
    with output.working("trying repairs on every release"):
        done = _done(target, way, chosen, asked)
    for said in done.made.notes:
        output.note(f"note: {said}")
    outcome = _outcome(done.made, way, wish, done)
    if output_format is RepairFormat.json:
        output.emit(renderer.json(outcome), output_file)
    elif output_format is RepairFormat.markdown:
        output.emit(change.render(outcome, command), output_file)
    elif output_format is RepairFormat.html:
        output.emit(html_change.render(outcome, command), output_file)
    else:
        _show(outcome, color, output_file, verbose=verbose)
    if outcome.refused is not None:
        raise outcome.refused
    raise typer.Exit(outcome.exit_code)


def _outcome(made: "Repair", way: Way, wish: gate.Wish, done: "_Done | None" = None) -> "Outcome":
    """What is told of a repair, with the findings that count."""
    from mtpfix.report import rewrite as renderer

    refused = None if done is None else done.refused
    return renderer.Outcome(
        before=gate.gated(made.before, wish),
        after=gate.gated(made.after, wish),
        checked_before=gate.gated(made.checked_before, wish),
        checked=gate.gated(made.checked, wish),
        selection=made.selection,
        plan=made.plan,
        diff=made.diff,
        files=made.changes,
        written=way.write and bool(made.changes) and refused is None,
        output=way.output if refused is None else None,
        backup=way.backup,
        named=frozenset(name for finding in made.checked.findings for name in finding.modules),
        pushed=None if done is None else done.pushed,
        refused=refused,
        repair_trunk_helps=made.repair_trunk_helps,
        notes=made.notes,
        index=made.index,
        renames=made.renames,
        renames_help=made.renames_help,
        alone_helps=made.alone_helps,
    )


class _Asked(TypedDict):
    """What all calls of the library take beside the releases and platforms."""

    options: "Options"
    draft: str | None
    revision: str | None
    token: str | None


def _refuse_contradictions(way: Way, asked: _Asked) -> None:
    ways.refuse_contradictions(way)
    wanted = asked["options"]
    if wanted.rename_in_place and (way.output is not None or way.push):
        raise UsageError(
            "--rename-in-place edits the weight files of a folder: it goes with --write alone",
            "use --rename-tensors with --output and --push-to-hub",
        )
    if wanted.rename_in_place and wanted.rename_tensors:
        raise UsageError(
            "--rename-tensors and --rename-in-place exclude each other", "choose one of them"
        )
    if wanted.renames and asked["draft"] is not None:
        raise UsageError(
            "tensors of a --draft are not renamed: nothing is written there",
            "repair the checkpoint that --draft names",
        )
    if way.wish.allow_partial and not way.acts:
        raise UsageError(
            "--allow-partial needs a place to write to", "add --write, --output or --push-to-hub"
        )


class _Done(NamedTuple):
    """The repair, and what became of it.

    Attributes:
        made: the repair. pushed: what became of it on the Hub, where it was to be pushed.
        refused: why nothing was written or pushed although that was asked for, or None.
    """

    made: "Repair"
    pushed: "Pushed | None" = None
    refused: RefusedError | None = None


def _done(target: str, way: Way, chosen: "Selected", asked: _Asked) -> _Done:
    """Make the repair where it is wanted; a refusal with a repair behind it is told, not raised."""
    try:
        return _made(target, way, chosen, asked)
    except RefusedError as error:
        if error.repair is None:
            raise
        return _Done(error.repair, refused=error)


def _made(target: str, way: Way, chosen: "Selected", asked: _Asked) -> _Done:
    """The repair, made where it was wanted."""
    from mtpfix import api, pushing

    if way.push:
        pushed = pushing.push(target, wish=way.wish, **chosen, **asked)
        return _Done(pushed.repair, pushed)
    if not way.acts:
        made = api.plan(target, **chosen, **asked)
        refused = None
        if made.refused is not None:
            refused = RefusedError(made.refused, api.hint(made))
        return _Done(made, refused=refused)
    made = api.rewrite(
        target,
        **chosen,
        **asked,
        write=way.write,
        output=way.output,
        backup=way.backup,
        allow_partial=way.wish.allow_partial,
    )
    return _Done(made)


def _command(target: str, chosen: "Selected", asked: _Asked) -> str:
    """The command line that makes the same repair."""
    words = ["mtpfix", "rewrite", target]
    words += ["--draft", options.shared(asked["draft"])] if asked["draft"] else []
    words += options.selecting(chosen)
    words += ["--engine-names-only"] if asked["options"].engine_names_only else []
    words += ["--repair-trunk"] if asked["options"].repair_trunk else []
    words += ["--rename-tensors"] if asked["options"].renames else []
    return shlex.join(words)


def _show(outcome: "Outcome", color: Color, file: Path | None, *, verbose: bool) -> None:
    """The diff on stdout, what it means on stderr."""
    from mtpfix.report import rewrite as renderer

    result = output.result_screen(color.value, file)
    # FORCE_COLOR must not spoil what goes through a pipe to `patch`.
    if result.tty or color is Color.always:
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
    sglang: options.Sglang = None,
    platform: options.PlatformAll = None,
    engine: options.EngineOption = None,
    *,
    output_dir: Annotated[
        Path | None,
        options.acting(
            "--output",
            metavar="DIR",
            help="For SGLang: make a folder that the draft loads from. It holds links to the MTP "
            "shards, and a config.json for the draft alone.",
        ),
    ] = None,
    engine_names_only: options.EngineNamesOnly = False,
    repair_trunk: options.RepairTrunk = False,
    draft: options.Draft = None,
    revision: options.Revision = None,
    token: options.Token = None,
    output_format: options.FormatOption = Format.text,
    output_file: options.OutputFile = None,
) -> None:
    """Show the repair as flags for the server, for a repository that you cannot edit.

    For vLLM, the text format is quoted for a shell; json is only the value of --hf-overrides. If
    no override can reach the draft, the exit code is 3.

    SGLang loads the draft from a folder of its own: --engine sglang shows what that would hold,
    and --output DIR makes it.

    As in `rewrite`, mtpfix plans the repair for every release. The exit code is 0 if the newest
    release is right on cuda, or all that --vllm, --engine and --platform select.
    """
    from mtpfix import api
    from mtpfix.cli import draft_folders
    from mtpfix.repair.plan import Options

    chosen = draft_folders.Chosen(
        target, options.releases(sglang), options.engines(engine), output_dir, revision, token
    )
    if draft_folders.are_wanted(chosen, options.releases(vllm), options.platforms(platform)):
        draft_folders.refuse(draft=draft, narrow=engine_names_only, trunk=repair_trunk)
        show = draft_folders.Show(output_format is Format.json, output_file)
        raise typer.Exit(draft_folders.make(chosen, options.platforms(platform), show))
    with output.working("trying repairs on every release"):
        made = api.override(
            target,
            **options.selected(vllm, engine, platform, sglang),
            options=Options(engine_names_only, repair_trunk),
            draft=draft,
            revision=revision,
            token=token,
        )
    options.tell_unknown_patches(made.repair.selection)
    for line in _override_notes(made):
        output.note(line)
    if output_format is Format.json:
        output.emit(f"{made.value or '{}'}\n", output_file)
    elif made.value:
        output.emit(f"--hf-overrides {shlex.quote(made.value)}\n", output_file)
    raise typer.Exit(made.repair.exit_code)


def _override_notes(made: "Override") -> Iterator[str]:
    """What a value for `--hf-overrides` does not do, a line each."""
    from mtpfix.repair import reasons

    repair = made.repair
    wrong = repair.exit_code == RefusedError.exit_code
    if not wrong and repair.exit_code:
        right = "it is right" if made.value else "no override is needed"
        known = f"as far as is known, {right}" if repair.checked.engines else "could not judge"
        yield f"{known}: `mtpfix inspect` says what could not be judged"
    elif not made.value and not wrong:
        yield "already right: no override is needed"
    elif not made.value:
        yield "no override can fix this: `mtpfix inspect` shows what is wrong"
    elif wrong:
        yield "the override does not fix everything: `mtpfix rewrite` shows what stays wrong"
    if wrong and repair.repair_trunk_helps:
        yield reasons.TRUNK_HELPS
    if made.unreached:
        releases = ", ".join(made.unreached)
        engine = repair.selection.engines[0].title
        yield f"it does not reach the draft of {engine} {releases}, which reads config.json again"
