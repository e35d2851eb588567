"""`override` for an engine that loads the draft from a folder of its own."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from pathlib import Path
from typing import TYPE_CHECKING

from mtpfix.cli import output, records
from mtpfix.errors import UsageError

if TYPE_CHECKING:
    from mtpfix.selection import Selection
    from mtpfix.targets import Reference


def are_wanted(selection: "Selection", folder: Path | None) -> bool:
    """Return whether a draft folder is what an `override` comes to.

    Raises:
        UsageError: the engines take different flags, or `--output` is given for another engine.
    """
    from mtpfix.drafting import only_one

    deciding = [engine for engine, _ in selection.decisive.engines]
    if folder is None and not any(engine.takes_draft_folder for engine in deciding):
        return False
    only_one(deciding)
    return True


def refuse(draft: str | None, entries: records.Entries) -> None:
    """Refuse options that mean nothing for a draft folder."""
    given = {
        "--draft": draft,
        "--engine-names-only": entries.engine_names_only,
        "--repair-trunk": entries.repair_trunk,
    }
    for flag, value in given.items():
        if value:
            raise UsageError(f"{flag} means nothing for a draft folder", "leave it out")


def make(
    target: "Reference",
    selection: "Selection",
    folder: Path | None,
    *,
    file: Path | None,
    text: bool,
) -> int:
    """Plan or make the folder, and show it; return the exit code.

    Args:
        target: the checkpoint.
        selection: for which releases; of one engine.
        folder: where to make it; None: nowhere.
        file: where the result is written; None: to stdout.
        text: whether it is written for people, and not for programs.
    """
    from mtpfix.cli.grafts import watching
    from mtpfix.drafting import draft_folder_of
    from mtpfix.report import draft_folder as renderer

    with watching("making the draft folder") as watch:
        made = draft_folder_of(target, selection, folder, watch)
    output.emit(renderer.text(made) if text else renderer.json(made), file)
    for line in renderer.notes(made):
        output.note(line)
    return made.exit_code
