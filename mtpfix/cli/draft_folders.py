"""`override` for an engine that loads the draft from a folder of its own."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mtpfix.cli import output
from mtpfix.errors import UsageError

if TYPE_CHECKING:
    from mtpfix.model import Platform


class Chosen(NamedTuple):
    """What the user asks for, but for platforms."""

    target: str
    sglang: tuple[str, ...] | None
    engines: tuple[str, ...] | None
    output: Path | None
    revision: str | None
    token: str | None


class Show(NamedTuple):
    """How the result is shown."""

    as_json: bool
    file: Path | None


def are_wanted(
    chosen: Chosen, vllm: Sequence[str] | None, platforms: "Sequence[Platform] | None"
) -> bool:
    """Return whether a draft folder is what an `override` comes to.

    Raises:
        UsageError: the engines take different flags, or `--output` is given for another engine.
    """
    from mtpfix.drafting import only_one
    from mtpfix.selection import select

    selection = select(vllm, platforms, chosen.engines, chosen.sglang)
    deciding = [engine for engine, _ in selection.decisive.engines]
    if chosen.output is None and not any(engine.takes_draft_folder for engine in deciding):
        return False
    only_one(deciding)
    return True


def refuse(*, draft: str | None, narrow: bool, trunk: bool) -> None:
    """Refuse options that mean nothing for a draft folder."""
    given = {"--draft": draft, "--engine-names-only": narrow, "--repair-trunk": trunk}
    for flag, value in given.items():
        if value:
            raise UsageError(f"{flag} means nothing for a draft folder", "leave it out")


def make(chosen: Chosen, platforms: "Sequence[Platform] | None", show: Show) -> int:
    """Plan or make the folder, and show it; return the exit code."""
    from mtpfix.cli.grafts import watching
    from mtpfix.drafting import draft_folder
    from mtpfix.report import draft_folder as renderer

    with watching("making the draft folder") as watch:
        made = draft_folder(
            chosen.target,
            sglang=chosen.sglang,
            engines=chosen.engines,
            platforms=platforms,
            output=chosen.output,
            revision=chosen.revision,
            token=chosen.token,
            watch=watch,
        )
    output.emit(renderer.json(made) if show.as_json else renderer.text(made), show.file)
    for line in renderer.notes(made):
        output.note(line)
    return made.exit_code
