"""Files of a folder are edited, all of them or none.

The order is: lock the folder, see that every file still is as it was
read, write all new bytes beside the old ones and flush them to the disk, keep
backups, and only then rename. A failure before the first rename has changed
nothing; one after it renames copies of the old bytes back, which takes no more
space. A run that is killed leaves each file whole, old or new, and at most a
lock file that nobody holds and temporary files, which the next run clears away.

Renaming gives a file a new inode: a hard link to the old one keeps the old
bytes. That is wanted, for whoever linked it did not ask for the repair.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mtpfix.errors import UsageError, WriteError
from mtpfix.repair.writing import disk
from mtpfix.repair.writing.locking import locked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mtpfix.repair.writing.weights import Addition, WeightFile

CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class Written:
    """What `write` did."""

    files: tuple[str, ...]
    """Names of the files that changed."""
    backups: Mapping[str, str]
    """Name -> the file beside it that holds the old bytes, made now or found there."""


def write(
    folder: Path,
    files: Mapping[str, tuple[bytes | None, bytes]],
    *,
    backup: bool = True,
    addition: Addition | None = None,
    weights: Sequence[WeightFile] = (),
) -> Written:
    """Replaces files in `folder`, all of them or none.

    The mode of a file is kept, and its owner and group where that is permitted; its
    times are those of the write. Its old bytes, with their times, stay in
    `NAME.bak-mtpfix`; where that holds something else, in `NAME.bak-mtpfix.1`, and so
    on: no backup is ever overwritten, and none is made twice. A file whose new bytes
    are the old ones is left alone.

    Args:
        folder: an existing folder.
        files: name in the folder -> the bytes as they were read (None: it is new), the new
            bytes; renamed in this order.
        backup: keep the old bytes.
        addition: a weight file that goes with them.
        weights: weight files that change before them.

    Raises:
        ConflictError: a file is no longer what was read, or another mtpfix keeps
            writing here.
        WriteError: a file is a link, or the system refused; all is as it was.
        UsageError: a name leads out of the folder or into one below.
    """
    changed = {name: pair for name, pair in files.items() if pair[0] != pair[1]}
    for name in (*changed, *([addition.name] if addition else []), *(w.name for w in weights)):
        if name in {"", ".", ".."} or Path(name).name != name:
            raise UsageError(f"{name!r} is not the name of a file in the folder")
    if not changed and not weights:
        disk.tidy(folder)
        return Written((), {})
    with disk.explained(f"cannot write into {folder}"):
        for name in changed:  # before locking: nothing of ours enters a Hub cache
            disk.refuse_link(folder / name)
        for weight in weights:
            weight.refuse(folder)
        with locked(folder):
            disk.sweep(folder)
            # Also files that stay: the new bytes of the others were judged beside them.
            for name, (old, _) in files.items():
                disk.refuse_moved(folder / name, old)
            return _Transaction(folder, changed, addition, weights).run(backup=backup)


class _Transaction:
    """The renames of one `write`, and the way back. The caller holds the lock."""

    def __init__(
        self,
        folder: Path,
        files: Mapping[str, tuple[bytes | None, bytes]],
        addition: Addition | None = None,
        weights: Sequence[WeightFile] = (),
    ) -> None:
        self._folder = folder
        self._files = files
        self._addition = addition
        self._weights = weights
        self._made: list[Path] = []
        self._backups: list[Path] = []

    def run(self, *, backup: bool) -> Written:
        """Stages everything, then renames; on any failure takes all of it back."""
        kept: dict[str, str] = {}
        there = {name: old for name, (old, _) in self._files.items() if old is not None}
        try:
            for name, (_, new) in self._files.items():
                self._stage(name, "new", new)
            for name, old in there.items():
                self._stage(name, "old", old)
            for weight in self._weights:
                weight.stage(self._folder)
            if backup:
                kept = {name: self._backup(name, old) for name, old in there.items()}
                kept |= {weight.name: self._kept(weight) for weight in self._weights}
            interim = self._add()
            for weight in self._weights:
                weight.apply(self._folder)
            for name in self._files:
                # An editor knows nothing of our lock.
                disk.refuse_moved(self._folder / name, interim.get(name, there.get(name)))
                if name not in there and name not in interim:
                    self._made.append(self._folder / name)
                os.replace(self._temporary(name, "new"), self._folder / name)  # noqa: PTH105
            disk.sync(self._folder)
        except BaseException:
            self._roll_back()
            raise
        with contextlib.suppress(OSError):  # what is left, the next run clears away
            for weight in self._weights:
                weight.finish(self._folder)
            disk.sweep(self._folder)
        return Written((*(weight.name for weight in self._weights), *self._files), kept)

    def _add(self) -> Mapping[str, bytes]:
        """Bring the weight file; return what new files hold meanwhile."""
        if self._addition is None:
            return {}
        for name, data in self._addition.interim.items():
            disk.refuse_moved(self._folder / name, None)
            self._stage(name, "interim", data)
            self._made.append(self._folder / name)
            os.replace(self._temporary(name, "interim"), self._folder / name)  # noqa: PTH105
        place = self._folder / self._addition.name
        disk.refuse_moved(place, None)
        disk.sync(self._folder)
        disk.give(self._addition.part, self._like(CONFIG).stat())
        os.replace(self._addition.part, place)  # noqa: PTH105
        disk.sync(self._folder)
        return self._addition.interim

    def _temporary(self, name: str, what: str) -> Path:
        return disk.temporary(self._folder, name, what)

    def _stage(self, name: str, what: str, data: bytes) -> None:
        like = self._like(name).stat()
        disk.create(self._temporary(name, what), data, like)
        if what in ("old", "bak"):  # a copy of the old file is as old as that
            os.utime(self._temporary(name, what), ns=(like.st_atime_ns, like.st_mtime_ns))

    def _like(self, name: str) -> Path:
        """Return the file whose owner and mode a new one gets."""
        near = (self._folder / each for each in (name, CONFIG))
        return next((path for path in near if path.exists()), self._folder)

    def _backup(self, name: str, old: bytes) -> str:
        """Makes sure that some backup holds `old`; returns its name."""
        path, there = disk.backup_of(self._folder, name, lambda path: path.read_bytes() == old)
        if there:
            return path.name
        self._stage(name, "bak", old)
        self._backups.append(path)
        os.replace(self._temporary(name, "bak"), path)  # noqa: PTH105
        return path.name

    def _kept(self, weight: WeightFile) -> str:
        """Make sure that a backup of a weight file is there; return its name."""
        name, new = weight.keep(self._folder)
        if new:
            self._backups.append(self._folder / name)
        return name

    def _roll_back(self) -> None:
        """Brings the old bytes back; keeps every copy of them if that fails."""
        try:
            for name in reversed(tuple(self._files)):
                new, old = (self._temporary(name, what) for what in ("new", "old"))
                # The new bytes are staged first: only a rename leaves the old ones alone.
                if old.exists() and not new.exists():
                    os.replace(old, self._folder / name)  # noqa: PTH105
            for weight in reversed(self._weights):
                weight.undo(self._folder)
            if self._addition is not None:
                self._addition.take_back(self._folder)
            for path in (*self._made, *self._backups):
                path.unlink(missing_ok=True)
            disk.sweep(self._folder)
        except OSError as error:
            raise WriteError(
                f"{self._folder}: the write failed, and so did taking it back: {error}",
                f"old files may be found as `.NAME.old{disk.TEMPORARY}` or `NAME{disk.BACKUP}`",
            ) from error
