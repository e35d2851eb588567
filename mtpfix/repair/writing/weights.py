"""Weight files that come, or change, together with the metadata."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Addition:
    """A weight file that comes with an edit of the metadata.

    It is renamed into place after files that are new have got their interim content, and before
    any other file: nothing that is read names it until the last rename.

    Attributes:
        name: its name in the folder.
        part: where it is, whole and flushed, on the same disk.
        interim: new file -> what it holds before the weight file is there.
    """

    name: str
    part: Path
    interim: Mapping[str, bytes] = field(default_factory=dict)

    def take_back(self, folder: Path) -> None:
        """Bring the file back to where it was before it was renamed into a folder."""
        place = folder / self.name
        if not self.part.exists() and place.exists():
            os.replace(place, self.part)  # noqa: PTH105


class WeightFile(Protocol):
    """A weight file that changes together with the metadata, before it (`renamed_weights.py`)."""

    @property
    def name(self) -> str:
        """Its name in the folder."""

    def refuse(self, folder: Path) -> None:
        """Refuse what cannot be changed, before anything is locked."""

    def stage(self, folder: Path) -> None:
        """Make ready what `apply` and `undo` need; nothing is changed yet."""

    def keep(self, folder: Path) -> tuple[str, bool]:
        """Keep what was there; return the name of the backup, and whether it is new."""

    def apply(self, folder: Path) -> None:
        """Change the file."""

    def undo(self, folder: Path) -> None:
        """Make the file what it was, however far `stage` and `apply` came."""

    def finish(self, folder: Path) -> None:
        """Forget how the file was: everything is written."""

    def create(self, path: Path, like: Path | None = None) -> None:
        """Write the changed file to another place, with owner and mode of `like`."""
