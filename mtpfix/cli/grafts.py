"""`graft`: the lost MTP block, brought back from the base model, or its declaration taken out."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypedDict

import typer

from mtpfix.cli import drops, options, output, ways
from mtpfix.cli.options import Color, RepairFormat
from mtpfix.cli.ways import Way
from mtpfix.errors import UsageError
from mtpfix.report.inert_text import inert

if TYPE_CHECKING:
    from mtpfix.grafting import Graft
    from mtpfix.grafts.attempts import Precision
    from mtpfix.grafts.lineage import Lineage
    from mtpfix.grafts.transfer import Watch
    from mtpfix.pushing import Landed
    from mtpfix.repair.plan import Options
    from mtpfix.report.graft import Grafted
    from mtpfix.selection import Selected


class PrecisionChoice(str, Enum):
    """What becomes of a block in FP8 or MXFP4."""

    auto = "auto"
    keep = "keep"
    bf16 = "bf16"


class _Pair(NamedTuple):
    """What a block is brought into, and from where."""

    target: str
    base: str
    revision: str | None
    token: str | None


class _Block(TypedDict):
    """How a block is brought."""

    precision: "Precision"
    options: "Options"


class Show(NamedTuple):
    """How the result is shown."""

    form: RepairFormat
    file: Path | None
    color: Color
    verbose: bool


def graft(
    target: options.TargetArg = ".",
    base: Annotated[
        str | None,
        options.option(
            "--from",
            metavar="BASE",
            help="The model that the target was made from: a folder, or a Hub repo "
            "org/name[@revision].  [default: that of the model card, for the plan]",
        ),
    ] = None,
    vllm: options.VllmAll = None,
    sglang: options.Sglang = None,
    platform: options.PlatformAll = None,
    *,
    engine: options.EngineOption = None,
    write: Annotated[
        bool, options.acting("--write", help="Bring the block into the folder.")
    ] = False,
    output_dir: Annotated[
        Path | None,
        options.acting(
            "--output",
            metavar="DIR",
            help="Make a new folder: links to the weights, the block, and the new JSON files.",
        ),
    ] = None,
    no_backup: options.NoBackup = False,
    push_to_hub: Annotated[
        bool,
        options.acting("--push-to-hub", help="Commit the block and the JSON files to the Hub."),
    ] = False,
    create_pr: options.CreatePr = False,
    repo_id: options.RepoId = "",
    commit_message: options.CommitMessage = "",
    dry_run: options.DryRun = False,
    drop: Annotated[
        bool,
        options.acting(
            "--drop",
            help="Bring nothing: take the declaration of the block out of config.json, where the "
            "block is not to be had.",
        ),
    ] = False,
    precision: Annotated[
        PrecisionChoice,
        options.option(
            "--precision",
            metavar="auto|keep|bf16",
            help="What becomes of a block in FP8 or MXFP4: kept where the target's method can say "
            "it, or made BF16; auto keeps it if that serves as many releases as BF16.",
        ),
    ] = PrecisionChoice.auto,
    engine_names_only: options.EngineNamesOnly = False,
    revision: options.Revision = None,
    token: options.Token = None,
    output_format: options.RepairFormatOption = RepairFormat.text,
    output_file: options.OutputFile = None,
    color: options.ColorOption = Color.auto,
    verbose: options.Verbose = False,
) -> None:
    """Bring back an MTP block that the quantizer lost, from the base model; first show the plan.

    mtpfix chooses the tensors by the names that the family has, reads only their bytes, adds one
    shard, the index and the entries, and judges all of it before anything is written.

    The exit code is 0 if the block is there and the newest release is right on cuda, or all that
    --vllm, --engine and --platform select. It is 1 if something is yet to be written, or if no way
    to bring the block is clean.
    """
    from mtpfix.pushing import Push
    from mtpfix.repair.plan import Options

    wish = Push(repo_id, create_pr, commit_message, dry_run=dry_run)
    way = Way(write, output_dir, not no_backup, push_to_hub, wish)
    _refuse_contradictions(way, drop=drop, base=base)
    chosen = options.selected(vllm, engine, platform, sglang)
    show = Show(output_format, output_file, color, verbose)
    if drop:
        raise typer.Exit(drops.drop(target, way, chosen, show, revision=revision, token=token))
    base = base or _offered(target, revision, token, acts=way.acts)
    block = _Block(precision=precision.value, options=Options(engine_names_only))
    command = _command(repo_id or target, base, chosen, block)  # nobody else has the folder
    done = _done(_Pair(target, base, revision, token), way, chosen, block, command)
    _emit(done, command, show)
    if done.outcome.refused is not None:
        raise done.outcome.refused
    raise typer.Exit(done.outcome.exit_code)


def _refuse_contradictions(way: Way, *, drop: bool, base: str | None) -> None:
    ways.refuse_contradictions(way)
    if drop and base is not None:
        raise UsageError("--drop brings nothing, so it needs no --from", "leave one of them out")


def _offered(target: str, revision: str | None, token: str | None, *, acts: bool) -> str:
    """Return the base that the model card names; what writes wants it said on the command line."""
    from mtpfix import grafting

    with output.working("looking for the base model"):
        found = grafting.offered(target, revision=revision, token=token)
    if acts:
        raise UsageError(
            "--from names the base, and it is not given", f"by the model card: --from {found}"
        )
    output.note(f"base by the model card: {inert(found)}")
    return found


def _done(pair: _Pair, way: Way, chosen: "Selected", block: _Block, command: str) -> "Grafted":
    """Make the graft where it is wanted."""
    from mtpfix import grafting

    target, base, revision, token = pair

    if way.push:
        with watching(f"the block from {inert(base)}") as watch:
            made, pushed = grafting.push(
                target,
                base,
                **chosen,
                **block,
                revision=revision,
                token=token,
                wish=way.wish,
                describe=lambda made: _described(made, way, command),
                watch=watch,
            )
        return _grafted(made, way, pushed)
    if way.acts:
        with watching(f"the block from {inert(base)}") as watch:
            made = grafting.graft(
                target,
                base,
                **chosen,
                **block,
                revision=revision,
                token=token,
                write=way.write,
                output=way.output,
                backup=way.backup,
                watch=watch,
            )
        return _grafted(made, way)
    with output.working("reading the base, and trying repairs on every release"):
        made = grafting.plan(target, base, **chosen, **block, revision=revision, token=token)
    return _grafted(made, way)


def _described(made: "Graft", way: Way, command: str) -> str:
    """Return the text of the commit; it is asked for when the block is there and leaves."""
    from mtpfix.report import graft as renderer

    output.progress("sending the commit to the Hub ...")
    return renderer.markdown(_grafted(made, way), command)


def _grafted(made: "Graft", way: Way, pushed: "Landed | None" = None) -> "Grafted":
    from mtpfix.report.graft import Grafted
    from mtpfix.report.rewrite import Outcome

    outcome = Outcome(
        before=made.before,
        after=made.after,
        checked_before=made.checked_before,
        checked=made.checked,
        selection=made.selection,
        plan=made.plan.repair.plan,
        diff=made.plan.diff,
        files=made.files,
        written=way.write and bool(made.files),
        output=way.output,
        backup=way.backup,
        named=frozenset(name for finding in made.checked.findings for name in finding.modules),
        pushed=pushed,
        refused=made.refused,
    )
    return Grafted(made, outcome)


def _emit(done: "Grafted", command: str, show: Show) -> None:
    from mtpfix.report import graft as renderer

    if show.form is RepairFormat.json:
        output.emit(renderer.json(done), show.file)
        return
    if show.form is RepairFormat.markdown:
        output.emit(renderer.markdown(done, command), show.file)
        return
    if show.form is RepairFormat.html:
        output.emit(renderer.html(done, command), show.file)
        return
    screen = output.result_screen(show.color.value, show.file)
    shown = renderer.text(
        done, screen.width, color=screen.color, verbose=show.verbose, ascii=screen.ascii
    )
    output.emit(shown, show.file)


def _command(target: str, base: str, chosen: "Selected", block: _Block) -> str:
    """The command line that makes the same graft."""
    words = ["mtpfix", "graft", target, "--from", options.shared(base)]
    words += options.selecting(chosen)
    words += [] if block["precision"] == "auto" else ["--precision", block["precision"]]
    words += ["--engine-names-only"] if block["options"].engine_names_only else []
    return shlex.join(words)


# --- while bytes arrive ------------------------------------------------------------------


@contextmanager
def watching(what: str) -> Iterator["Watch"]:
    """Say on a terminal how many bytes of the block have arrived."""
    from mtpfix.grafts.transfer import Watch
    from mtpfix.report.graft import bar, lineage

    def compared(found: "Lineage") -> None:
        if found.verdict != "same weights":
            output.note(f"base: {lineage(found)}")

    total, arrived, begun, lock = 0, 0, time.monotonic(), Lock()

    def expected(count: int) -> None:
        nonlocal total, begun
        total, begun = count, time.monotonic()

    def moved(count: int) -> None:
        nonlocal arrived
        with lock:
            before, arrived = arrived, arrived + count
            if arrived // _STEP != before // _STEP:
                output.progress(f"{what}  {bar(arrived, total, time.monotonic() - begun)}")

    with output.working(what):
        yield Watch(expected, moved, compared)


_STEP = 1 << 22
"""Bytes after which the line of progress is drawn anew."""
