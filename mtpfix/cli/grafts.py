"""`graft`: the lost MTP block, brought back from the base model, or its declaration taken out."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from threading import Lock
from typing import TYPE_CHECKING, Annotated

import typer

from mtpfix.cli import options, output, records, repairs
from mtpfix.cli.options import RepairFormat
from mtpfix.errors import UsageError
from mtpfix.report.inert_text import inert

if TYPE_CHECKING:
    from mtpfix.delivery import Delivered
    from mtpfix.grafts.lineage import Lineage
    from mtpfix.grafts.transfer import Watch
    from mtpfix.selection import Selection
    from mtpfix.targets import Reference


class PrecisionChoice(str, Enum):
    """What becomes of a block in FP8 or MXFP4."""

    auto = "auto"
    keep = "keep"
    bf16 = "bf16"


@records.flat
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
    *,
    releases: records.AllReleases,
    place: records.BlockDestination,
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
    shown: records.RepairOutput,
) -> None:
    """Bring back an MTP block that the quantizer lost, from the base model; first show the plan.

    mtpfix chooses the tensors by the names that the family has, reads only their bytes, adds one
    shard, the index and the entries, and judges all of it before anything is written.

    The exit code is 0 if the block is there and the newest release is right on cuda, or all that
    --vllm, --engine and --platform select. It is 1 if something is yet to be written, or if no way
    to bring the block is clean.
    """
    from mtpfix import calls
    from mtpfix.repair.plan import Options
    from mtpfix.report import graft as renderer
    from mtpfix.targets import Reference

    place.require_one()
    if drop and base is not None:
        raise UsageError("--drop brings nothing, so it needs no --from", "leave one of them out")
    selection = releases.selection
    at = Reference(target, revision=revision, token=token)
    if drop:
        raise typer.Exit(_drop(at, place, selection, shown))
    base = base or _offered(at, acts=place.acts)
    words = ["mtpfix", "graft", place.repo_id or target, "--from", options.shared(base)]
    words += selection.options
    words += [] if precision.value == "auto" else ["--precision", precision.value]
    words += ["--engine-names-only"] if engine_names_only else []
    command = shlex.join(words)  # nobody else has the folder

    def describe(done: "Delivered") -> str:
        output.progress("sending the commit to the Hub ...")
        return renderer.markdown(done, command)

    origin, allowed = Reference(base, token=token), Options(engine_names_only)
    with _at_work(base, acts=place.acts) as watch:
        delivery = place.delivery(at, describe, watch)
        done = calls.bring_block(
            at, origin, selection, allowed, precision=precision.value, delivery=delivery
        )
    _emit(done, command, shown)
    if done.refused is not None:
        raise done.refused
    raise typer.Exit(done.exit_code)


@contextmanager
def _at_work(base: str, *, acts: bool) -> Iterator["Watch | None"]:
    """Say what is done: the block arrives, or ways to bring it are tried."""
    if acts:
        with watching(f"the block from {inert(base)}") as watch:
            yield watch
        return
    with output.working("reading the base, and trying repairs on every release"):
        yield None


def _offered(target: "Reference", *, acts: bool) -> str:
    """Return the base that the model card names; what writes wants it said on the command line."""
    from mtpfix import calls

    with output.working("looking for the base model"):
        found = calls.base_of(target)
    if acts:
        raise UsageError(
            "--from names the base, and it is not given", f"by the model card: --from {found}"
        )
    output.note(f"base by the model card: {inert(found)}")
    return found


def _drop(
    target: "Reference",
    place: records.Destination,
    selection: "Selection",
    shown: records.RepairOutput,
) -> int:
    """Take the declaration out where that is wanted; return the exit code."""
    from mtpfix import calls
    from mtpfix.report import change
    from mtpfix.rules.presence import LOST

    words = ["mtpfix", "graft", place.repo_id or str(target.target), "--drop", *selection.options]
    command = shlex.join(words)
    delivery = place.delivery(target, lambda done: change.render(done, command))
    with output.working("trying on every release what takes the declaration out"):
        done = calls.drop(target, selection, delivery)
    before = done.repair.checked_before
    if done.repair.files and before.exit_code and not {f.code for f in before.findings} & {*LOST}:
        output.note("note: the block is there, and whole; `mtpfix rewrite` may repair its metadata")
    if shown.output_format is not RepairFormat.text:
        repairs.emit_document(done, command, shown)
        return done.exit_code
    from mtpfix.report import rewrite

    screen = output.result_screen(shown.color.value, shown.output_file)
    output.emit(rewrite.seen(done.repair.diff, color=screen.color), shown.output_file)
    output.note(
        rewrite.text(
            done, screen.width, color=screen.color, verbose=shown.verbose, ascii=screen.ascii
        )
    )
    return done.exit_code


def _emit(done: "Delivered", command: str, shown: records.RepairOutput) -> None:
    from mtpfix.report import graft as renderer

    form, file = shown.output_format, shown.output_file
    if form is RepairFormat.json:
        output.emit(renderer.json(done), file)
    elif form is RepairFormat.markdown:
        output.emit(renderer.markdown(done, command), file)
    elif form is RepairFormat.html:
        output.emit(renderer.html(done, command), file)
    else:
        screen = output.result_screen(shown.color.value, file)
        text = renderer.text(
            done, screen.width, color=screen.color, verbose=shown.verbose, ascii=screen.ascii
        )
        output.emit(text, file)


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
