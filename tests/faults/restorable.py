"""A folder that faults are planted in over and over: it is made what it was after each."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path


class Restorable:
    """A folder that can be made what it was.

    Attributes:
        folder: the folder.
        old: name -> bytes of each file in the beginning.
    """

    folder: Path
    old: Mapping[str, bytes]
    _said: Path
    """Where stderr of the last run is kept, which a child may have written."""

    def said(self) -> str:
        """Return what the last run has said on stderr."""
        return self._said.read_text(encoding="utf-8")

    def restore(self) -> None:
        """Make the folder what it was in the beginning."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        for name, data in self.old.items():
            (self.folder / name).write_bytes(data)
