"""Where a checkpoint comes from: the Source protocol, and the local folder.

A source hands out bytes and judges nothing but their way here: that a path stays inside,
that a file is a regular file, that it did not change under the reader.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, BinaryIO, Protocol

from mtpfix.checkpoint.header import PREFIX, header_length
from mtpfix.checkpoint.strict_json import shown
from mtpfix.errors import BrokenFileError, ConflictError, TargetError
from mtpfix.model import Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

READ_LIMIT = 100_000_000
"""Bytes of the longest metadata file; the index of 280,000 tensors has 30 million."""

MAX_FILES = 100_000
"""Files that a checkpoint may hold: the folder is surely another one beyond that."""

PIECE = 1 << 20
"""Bytes of the longest piece that `Source.stream` hands out."""

# A FIFO must not block the open; a terminal must not become ours; Windows must not edit bytes.
_FLAGS = os.O_RDONLY | sum(
    getattr(os, flag, 0) for flag in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY")
)


class Source(Protocol):
    """A folder or a repo, at one moment."""

    def target(self) -> Target:
        """What the user pointed at."""

    def list(self) -> tuple[str, ...]:
        """Paths of all files, relative, with `/` between the parts, sorted."""

    def expect(self, files: Iterable[str], headers: Mapping[str, int] | None = None) -> None:
        """Says what will be read next, so that a source that is far away can fetch it at once.

        Args:
            files: paths of files that are read whole.
            headers: path of a safetensors file -> about how many bytes its header should have.
        """

    def read(self, path: str, *, limit: int = READ_LIMIT) -> bytes:
        """All bytes of one file.

        Raises:
            TargetError: the file cannot be read.
            BrokenFileError: it has more than `limit` bytes.
            ConflictError: it changed while it was read.
        """

    def read_header(self, path: str) -> tuple[bytes, int]:
        """The header of one safetensors file, and how many bytes of data follow it.

        One call, so that a source may answer with one or two range requests.

        Raises:
            TargetError: the file cannot be read.
            BrokenFileError: the length of its header is impossible.
            ConflictError: it changed while it was read.
        """

    def stream(self, path: str, begin: int, end: int) -> Iterator[bytes]:
        """The bytes of a file from `begin` up to `end`, in pieces of at most `PIECE` bytes.

        Raises:
            TargetError: the file cannot be read, or ends before `end`.
            ConflictError: it changed while it was read.
        """


class LocalSource:
    """A folder of this machine. Links to regular files are followed: caches are made of them."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._name = os.fspath(folder)
        if "\0" in self._name:
            raise TargetError(f"{shown(self._name)}: no such folder", "Give another path.")
        self._root = Path(self._name)
        try:
            mode = self._root.stat().st_mode
        except OSError as error:
            raise _refused(self._name, error, "folder") from None
        if not stat.S_ISDIR(mode):
            raise TargetError(f"{shown(self._name)}: not a folder", "Give the folder it is in.")
        self._states: dict[str, tuple[int, int]] = {}  # of files whose headers were read

    def target(self) -> Target:
        """The folder, as the user wrote it."""
        return Target("local", self._name)

    def list(self) -> tuple[str, ...]:
        """Paths of all files, sorted; hidden folders (`.git`, `.cache`) are left out.

        Raises:
            TargetError: the folder cannot be read, or holds too many files.
        """
        found: list[str] = []
        for folder, inner, files in os.walk(self._root, onerror=self._unlisted):
            inner[:] = [name for name in inner if not name.startswith(".")]
            below = Path(folder).relative_to(self._root)
            found += [(below / name).as_posix() for name in files]
            if len(found) > MAX_FILES:
                raise TargetError(
                    f"{shown(self._name)}: more than {MAX_FILES} files",
                    "Give the folder that holds the checkpoint's config.json.",
                )
        return tuple(sorted(found))

    def expect(self, files: Iterable[str], headers: Mapping[str, int] | None = None) -> None:
        """Nothing to do: a disk is near."""

    def read(self, path: str, *, limit: int = READ_LIMIT) -> bytes:
        """All bytes of one file; see `Source.read`."""
        with self._opened(path) as (file, (size, _)):
            if size > limit:
                raise too_long(path, size, limit)
            return file.read(size)

    def read_header(self, path: str) -> tuple[bytes, int]:
        """Header bytes and data size of one safetensors file; see `Source.read_header`."""
        with self._opened(path) as (file, state):
            self._states[path], size = state, state[0]
            length = header_length(file.read(PREFIX), size, file=path)
            return file.read(length), size - PREFIX - length

    def stream(self, path: str, begin: int, end: int) -> Iterator[bytes]:
        """Bytes of one file, in pieces; see `Source.stream`."""
        with self._opened(path) as (file, state):
            if self._states.get(path, state) != state:  # since somebody read where tensors lie
                raise _changed(path)
            if end > state[0]:
                raise ends_early(path, state[0], end)
            file.seek(begin)
            while begin < end:
                piece = file.read(min(PIECE, end - begin))
                if not piece:
                    raise ends_early(path, begin, end)
                begin += len(piece)
                yield piece

    def _unlisted(self, error: OSError) -> None:
        # Only the top matters: no shard and no metadata lies deeper.
        if error.filename == str(self._root):
            raise _refused(self._name, error, "folder") from None

    @contextmanager
    def _opened(self, path: str) -> Iterator[tuple[BinaryIO, tuple[int, int]]]:
        """Opens a regular file of the folder; yields it with its size in bytes, and its time."""
        if climbs_out(path):
            raise TargetError(
                f"{shown(path)}: leads out of the folder", "Only files inside it are read."
            )
        try:
            if not stat.S_ISREG((self._root / path).stat().st_mode):  # opening a device can act
                raise _irregular(path)
            with os.fdopen(os.open(self._root / path, _FLAGS), "rb") as file:
                before = os.fstat(file.fileno())
                if not stat.S_ISREG(before.st_mode):
                    raise _irregular(path)
                yield file, _state(before)
                after = os.fstat(file.fileno())
        except OSError as error:
            raise _refused(path, error, "file") from None
        if _state(before) != _state(after):
            raise _changed(path)


def too_long(path: str, size: int, limit: int) -> BrokenFileError:
    """The error about a metadata file that no checkpoint could have."""
    return BrokenFileError(
        f"{shown(path)}: {size} bytes, more than the {limit} that are read",
        "Check that this is the metadata file of a checkpoint.",
    )


def within(data: bytes, path: str, limit: int) -> bytes:
    """Return what a file holds.

    Raises:
        BrokenFileError: it is longer than `limit` bytes.
    """
    if len(data) > limit:
        raise too_long(path, len(data), limit)
    return data


def ends_early(path: str, size: int, end: int) -> TargetError:
    """The error about a file that is shorter than its header says."""
    return TargetError(
        f"{shown(path)}: {size} bytes, and tensors up to byte {end} are wanted",
        "Download the file again: it is cut short, or another one than its header says.",
    )


def climbs_out(path: str) -> bool:
    """Whether a path of a repo is empty, absolute, or leaves the repo, on any system."""
    windows, posix = PureWindowsPath(path), PurePosixPath(path)
    return (
        "\0" in path
        or not posix.parts
        or posix.is_absolute()
        or bool(windows.anchor)
        or ".." in windows.parts
    )


def _state(file: os.stat_result) -> tuple[int, int]:
    """Return what changes when a file is written: its size, and its time."""
    return file.st_size, file.st_mtime_ns


def _changed(path: str) -> ConflictError:
    return ConflictError(
        f"{shown(path)}: changed while it was read", "Run again when nothing writes to it."
    )


def _irregular(path: str) -> TargetError:
    return TargetError(
        f"{shown(path)}: not a regular file",
        "Remove it: a checkpoint holds plain files, or links to them.",
    )


def _refused(path: str, error: OSError, kind: str) -> TargetError:
    what, remedy = {
        errno.ENOENT: (f"no such {kind}", "Check the path; a link may point to nothing."),
        errno.ENOTDIR: (f"no such {kind}", "Check the path."),
        errno.EACCES: ("no permission to read it", "Change its permissions, or the user."),
        errno.EPERM: ("no permission to read it", "Change its permissions, or the user."),
        errno.ELOOP: ("a link that leads back to itself", "Remove the link."),
    }.get(error.errno or 0, (f"cannot be read ({error.strerror})", "Check the disk."))
    return TargetError(f"{shown(path)}: {what}", remedy)
