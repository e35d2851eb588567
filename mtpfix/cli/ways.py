"""Where what a command makes goes: nowhere, into the folder, into a new one, to the Hub."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mtpfix.errors import UsageError

if TYPE_CHECKING:
    from mtpfix.pushing import Push


@dataclass(frozen=True, slots=True)
class Way:
    """Where it goes; by default nowhere: it is shown."""

    write: bool
    output: Path | None
    backup: bool
    push: bool
    wish: "Push"

    @property
    def acts(self) -> bool:
        """Whether anything is to be written."""
        return self.write or self.output is not None or self.push


def refuse_contradictions(way: Way) -> None:
    """Refuse several places at once, and options of a push without one.

    Raises:
        UsageError: they do not go together.
    """
    if (way.write, way.output is not None, way.push).count(True) > 1:
        raise UsageError(
            "--write, --output and --push-to-hub exclude each other", "choose one of them"
        )
    wish = way.wish
    if not way.push and (wish.create_pr or wish.dry_run or wish.repo_id or wish.message):
        raise UsageError(
            "--create-pr, --repo-id, --commit-message and --dry-run need --push-to-hub",
            "add --push-to-hub",
        )
