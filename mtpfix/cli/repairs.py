"""`rewrite` and `override`: the repair, in the files or at serve time."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtpfix.cli import gate, options, output, records, settings
from mtpfix.cli.options import Color, Format, RepairFormat
from mtpfix.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from mtpfix.calls import Override
    from mtpfix.delivery import Delivered
    from mtpfix.repair.plan import Options
    from mtpfix.selection import Selection


@records.flat
def rewrite(
    target: options.TargetArg = ".",
    *,
    releases: records.AllReleases,
    context: typer.Context,
    place: records.RepairDestination,
    changes: records.Changes,
    reach: records.Reach,
    counted: records.Filter,
    shown: records.RepairOutput,
) -> None:
    """Repair the metadata with the fewest right entries; by default, only show a diff.

    The diff goes to stdout, and its explanation to stderr. Nothing is written without --write,
    --output or --push-to-hub.

    mtpfix plans the repair for every release and platform that supports the family. The exit code
    is 0 if the newest release is right on cuda, or all that --vllm, --engine and --platform
    select, and if no change is left to write. Otherwise it is 1.
    """
    from mtpfix import calls
    from mtpfix.report import change

    selection, allowed = releases.selection, changes.options
    wish = gate.wish(
        counted.select, counted.ignore, counted.fail_on.value, settings.ignores(context)
    )
    command = _command(place.repo_id or target, selection, allowed, reach.draft)
    _refuse_contradictions(place, allowed, reach.draft)

    def describe(done: "Delivered") -> str:
        return change.render(gate.delivered(done, wish), command)

    at = reach.reference(target)
    with output.working("trying repairs on every release"):
        try:
            done = calls.repair(at, selection, allowed, place.delivery(at, describe))
        except RefusedError as error:
            if error.repair is None:
                raise
            done = _not_delivered(place, error)
    for said in done.repair.notes:
        output.note(f"note: {said}")
    done = gate.delivered(done, wish)
    if shown.output_format is RepairFormat.text:
        _show(done, shown)
    else:
        emit_document(done, command, shown)
    if done.refused is not None:
        raise done.refused
    raise typer.Exit(done.exit_code)


def _not_delivered(place: records.Destination, error: RefusedError) -> "Delivered":
    """Return the repair that was refused, as it would have been delivered."""
    from mtpfix.delivery import Delivered

    return Delivered(error.repair, backup=not place.no_backup, refused=error)


def _refuse_contradictions(
    place: records.Destination, wanted: "Options", draft: str | None
) -> None:
    place.require_one()
    if wanted.rename_in_place and (place.output_dir is not None or place.push_to_hub):
        raise UsageError(
            "--rename-in-place edits the weight files of a folder: it goes with --write alone",
            "use --rename-tensors with --output and --push-to-hub",
        )
    if wanted.rename_in_place and wanted.rename_tensors:
        raise UsageError(
            "--rename-tensors and --rename-in-place exclude each other", "choose one of them"
        )
    if wanted.renames and draft is not None:
        raise UsageError(
            "tensors of a --draft are not renamed: nothing is written there",
            "repair the checkpoint that --draft names",
        )


def _command(target: str, selection: "Selection", wanted: "Options", draft: str | None) -> str:
    """Return the command line that makes the same repair; nobody else has the folder."""
    words = ["mtpfix", "rewrite", target]
    words += ["--draft", options.shared(draft)] if draft else []
    words += selection.options
    words += ["--engine-names-only"] if wanted.engine_names_only else []
    words += ["--repair-trunk"] if wanted.repair_trunk else []
    words += ["--rename-tensors"] if wanted.renames else []
    return shlex.join(words)


def emit_document(done: "Delivered", command: str, shown: records.RepairOutput) -> None:
    """Write a repair as a document: JSON, the text of a pull request, or a page."""
    from mtpfix.report import change, html_change
    from mtpfix.report import rewrite as renderer

    if shown.output_format is RepairFormat.json:
        output.emit(renderer.json(done), shown.output_file)
    elif shown.output_format is RepairFormat.markdown:
        output.emit(change.render(done, command), shown.output_file)
    else:
        output.emit(html_change.render(done, command), shown.output_file)


def _show(done: "Delivered", shown: records.RepairOutput) -> None:
    """Write the diff to stdout, and what it means to stderr."""
    from mtpfix.report import rewrite as renderer

    file, diff = shown.output_file, done.repair.diff
    result = output.result_screen(shown.color.value, file)
    # FORCE_COLOR must not spoil what goes through a pipe to `patch`.
    if result.tty or shown.color is Color.always:
        output.emit(renderer.seen(diff, color=result.color), file)
    elif diff or file is not None:
        output.emit(diff, file)
    error = output.screen(sys.stderr, shown.color.value)
    meaning = renderer.text(
        done, error.width, color=error.color, verbose=shown.verbose, ascii=error.ascii
    )
    output.note(meaning)


@records.flat
def override(
    target: options.TargetArg = ".",
    *,
    releases: records.AllReleases,
    output_dir: Annotated[
        Path | None,
        options.acting(
            "--output",
            metavar="DIR",
            help="For SGLang: make a folder that the draft loads from. It holds links to the MTP "
            "shards, and a config.json for the draft alone.",
        ),
    ] = None,
    entries: records.Entries,
    reach: records.Reach,
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
    from mtpfix import calls
    from mtpfix.cli import draft_folders
    from mtpfix.engines.registry import DEFAULT
    from mtpfix.repair.plan import Options

    selection, at = releases.selection, reach.reference(target)
    if draft_folders.are_wanted(selection, output_dir):
        draft_folders.refuse(reach.draft, entries)
        text = output_format is Format.text
        raise typer.Exit(draft_folders.make(at, selection, output_dir, file=output_file, text=text))
    if not (releases.vllm or releases.sglang or releases.engine):
        selection = selection.of(DEFAULT)  # no other is given such a value
    allowed = Options(entries.engine_names_only, entries.repair_trunk)
    with output.working("trying repairs on every release"):
        made = calls.override(at, selection, allowed)
    options.tell_unknown_patches(made.repair.selection)
    for line in _override_notes(made):
        output.note(line)
    if output_format is Format.json:
        output.emit(f"{made.value or '{}'}\n", output_file)
    elif made.value:
        output.emit(f"--hf-overrides {shlex.quote(made.value)}\n", output_file)
    raise typer.Exit(made.repair.exit_code)


def _override_notes(made: "Override") -> Iterator[str]:
    """For which releases a value for `--hf-overrides` is right, and what it does not do."""
    from mtpfix.repair import reasons
    from mtpfix.report import wording

    repair = made.repair
    if made.value:
        yield f"with these flags, {wording.sentence(repair.after)}"
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
    if wrong and repair.repair_trunk_mends:
        yield reasons.trunk_helps(repair.repair_trunk_mends)
    if made.unreached:
        releases = ", ".join(made.unreached)
        engine = repair.selection.engines[0].title
        yield f"it does not reach the draft of {engine} {releases}, which reads config.json again"
