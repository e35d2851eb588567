"""Weight files whose tensors get other names; their bytes stay.

A file that holds nothing but the MTP block is replaced by a new one: all is written beside it,
flushed and renamed, and the old file stays as the backup, by a hard link, so that no byte of it is
copied twice. In place only the header is written: the old one is kept in a journal beside the file
until all is flushed, and a run that was killed in between is taken back by the next one. A journal
holds the inode of its file, which nobody knows who sends a folder to somebody else.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mtpfix.checkpoint.header import HEADER_LIMIT, JOURNAL, PREFIX, parse_header
from mtpfix.checkpoint.source import Source
from mtpfix.errors import ConflictError, UsageError, WriteError
from mtpfix.repair import renames
from mtpfix.repair.renames import Renames
from mtpfix.repair.writing import disk
from mtpfix.repair.writing.locking import LOCK, released, take

_HEADER = ".header"
"""Stands in the name of the backup of a header, behind that of the weight file."""
_NUMBER = 8
"""Bytes of the inode and of the length in a journal."""
_PLAIN = sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


@dataclass(frozen=True)
class NewFile:
    """A weight file that takes the place of one with other names.

    Attributes:
        name: of both.
        source: where the old one is read.
        changes: what changes.
    """

    name: str
    source: Source
    changes: Renames

    def refuse(self, folder: Path) -> None:
        """Refuse what no file may take the place of."""
        disk.refuse_link(folder / self.name)

    def check(self) -> tuple[bytes, int]:
        """Return the old header and the size of the data behind it.

        Raises:
            ConflictError: the file is no longer what was read.
        """
        raw, size = self.source.read_header(self.name)
        if parse_header(raw, data_size=size, file=self.name) != self.changes.files[self.name]:
            raise ConflictError(f"{self.name} changed since it was read", "run the command again")
        return raw, size

    def create(self, path: Path, like: Path | None = None) -> None:
        """Write the new file, through to the disk, with the owner and mode of another."""
        raw, size = self.check()
        head = renames.header(raw, self.changes.names, self.name)
        begin = PREFIX + len(raw)
        with path.open("xb") as file:
            file.write(len(head).to_bytes(PREFIX, "little") + head)
            for piece in self.source.stream(self.name, begin, begin + size):
                file.write(piece)
            if like is not None:
                disk.give(path, like.stat())
            file.flush()
            os.fsync(file.fileno())

    def stage(self, folder: Path) -> None:
        """Make ready what `apply` needs, and what `undo` does."""
        self.create(disk.temporary(folder, self.name, "new"), folder / self.name)
        os.link(folder / self.name, disk.temporary(folder, self.name, "old"))

    def keep(self, folder: Path) -> tuple[str, bool]:
        """Keep the old file; return the name of the backup, and whether it is new."""
        file = folder / self.name
        path, there = disk.backup_of(folder, self.name, file.samefile)
        if not there:
            os.link(file, path)
        return path.name, not there

    def apply(self, folder: Path) -> None:
        """Put the new file in its place."""
        os.replace(disk.temporary(folder, self.name, "new"), folder / self.name)  # noqa: PTH105

    def undo(self, folder: Path) -> None:
        """Bring the old file back, if it is not there."""
        new, old = (disk.temporary(folder, self.name, what) for what in ("new", "old"))
        if old.exists() and not new.exists():
            os.replace(old, folder / self.name)  # noqa: PTH105

    def finish(self, folder: Path) -> None:
        """Nothing is left to do: what was staged is swept away."""


@dataclass(frozen=True)
class NewHeader(NewFile):
    """A header that is written over the old one."""

    def refuse(self, folder: Path) -> None:
        """Refuse a file that other names lead to: whoever made them did not ask for this."""
        disk.refuse_link(folder / self.name)
        if (folder / self.name).stat().st_nlink > 1:
            raise WriteError(
                f"{folder / self.name} has other names (hard links), and an edit of its header "
                "would change them too",
                "make a copy of the file, or write a new one: --rename-tensors",
            )

    def stage(self, folder: Path) -> None:
        """Write the journal: the old header and the new one."""
        raw, _ = self.check()
        new = renames.fitted(raw, self.changes.names, self.name)
        part = disk.temporary(folder, self.name, "header")
        with _opened(folder / self.name, os.O_RDONLY) as file:
            disk.create(part, _Kept(os.fstat(file.fileno()).st_ino, raw, new).packed())
        os.replace(part, _journal(folder, self.name))  # noqa: PTH105
        disk.sync(folder)

    def keep(self, folder: Path) -> tuple[str, bool]:
        """Keep the head of the file; return the name of the backup, and whether it is new."""
        old = _read(_journal(folder, self.name)).old
        head = len(old).to_bytes(PREFIX, "little") + old
        name = self.name + _HEADER
        path, there = disk.backup_of(folder, name, lambda path: path.read_bytes() == head)
        if not there:
            part = disk.temporary(folder, name, "bak")
            disk.create(part, head, (folder / self.name).stat())
            os.replace(part, path)  # noqa: PTH105
        return path.name, not there

    def apply(self, folder: Path) -> None:
        """Write the new header, if the old one is still there."""
        kept = _read(_journal(folder, self.name))
        if self.check()[0] != kept.old:
            raise ConflictError(f"{self.name} changed since it was read", "run the command again")
        with _opened(folder / self.name, os.O_RDWR) as file:
            _overwrite(file, kept.new)

    def undo(self, folder: Path) -> None:
        """Write the old header again, if it is not there."""
        journal = _journal(folder, self.name)
        if journal.exists():
            _take_back(folder / self.name, journal, finished=False)

    def finish(self, folder: Path) -> None:
        """Remove the journal: what it says holds no longer."""
        _journal(folder, self.name).unlink()


def changes(found: Renames, source: Source, output: Path | None = None) -> tuple[NewFile, ...]:
    """Return what happens to weight files.

    Args:
        found: the renames.
        source: where the files are read.
        output: the new folder that they go to; None: they are changed where they are.

    Raises:
        UsageError: nothing in a new folder can be edited in place.
    """
    if found.in_place and output is not None and found:
        raise UsageError(
            "--rename-in-place edits weight files where they are, and --output DIR links to them",
            "use --rename-tensors with --output, or --rename-in-place with --write",
        )
    kind = NewHeader if found.in_place else NewFile
    return tuple(kind(name, source, found) for name in found.files)


# --- journals ----------------------------------------------------------------------------


class _Kept(NamedTuple):
    """What a journal holds."""

    inode: int
    """Of the file whose header is written over."""
    old: bytes
    new: bytes

    def packed(self) -> bytes:
        """Return the bytes of the journal."""
        numbers = (n.to_bytes(_NUMBER, "little") for n in (self.inode, len(self.old)))
        return b"".join((*numbers, self.old, self.new))


def put_right(folder: Path) -> None:
    """Take back, or complete, headers that a killed run was writing, unless another one is at work.

    A header that is neither the old nor the new one becomes the old one. A folder without such
    traces is not touched, and neither is a file that the journal beside it was not made for.
    """
    with contextlib.suppress(OSError):
        if any(_journals(folder)) and (handle := take(folder / LOCK)) is not None:
            with released(folder / LOCK, handle):
                for name, journal in _journals(folder):
                    with contextlib.suppress(OSError):
                        _take_back(folder / name, journal, finished=True)


def _take_back(file: Path, journal: Path, *, finished: bool) -> None:
    """Make sure that a file has its old header, or all of the new one if that is good enough.

    Raises:
        OSError: they are no plain files, or the journal is that of another file.
    """
    kept = _read(journal)
    with _opened(file, os.O_RDWR) as opened:
        if os.fstat(opened.fileno()).st_ino != kept.inode:
            raise FileNotFoundError(f"{journal} is of another file")
        length = int.from_bytes(opened.read(PREFIX), "little")
        there = opened.read(len(kept.old))
        if length == len(kept.old) and there != kept.old and not (finished and there == kept.new):
            _overwrite(opened, kept.old)
    journal.unlink()
    disk.sync(journal.parent)


def _journal(folder: Path, name: str) -> Path:
    return folder / f".{name}{JOURNAL}"


def _journals(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in folder.glob(f".*{JOURNAL}"):
        yield path.name[1:].removesuffix(JOURNAL), path


def _read(journal: Path) -> _Kept:
    with _opened(journal, os.O_RDONLY) as file:
        raw = file.read(2 * (_NUMBER + HEADER_LIMIT))
    inode, length = (int.from_bytes(raw[at : at + _NUMBER], "little") for at in (0, _NUMBER))
    headers = raw[2 * _NUMBER :]
    return _Kept(inode, headers[:length], headers[length:])


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[BinaryIO]:
    """Open a plain file that has no other name.

    Raises:
        OSError: it is a link, a device or the like, or has other names.
    """
    if not stat.S_ISREG(path.lstat().st_mode):  # opening a device can act
        raise FileNotFoundError(f"{path} is no plain file")
    handle = os.open(path, flags | _PLAIN)
    with os.fdopen(handle, "r+b" if flags & os.O_RDWR else "rb") as file:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode) or state.st_nlink != 1:
            raise FileNotFoundError(f"{path} is no plain file, or has other names")
        yield file


def _overwrite(file: BinaryIO, header: bytes) -> None:
    file.seek(PREFIX)
    file.write(header)
    file.flush()
    os.fsync(file.fileno())
