"""What both edits and new folders do on the disk: write through, rename with care, clear away."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mtpfix.errors import ConflictError, WriteError
from mtpfix.repair.writing.locking import LOCK, released, take

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

BACKUP = ".bak-mtpfix"
TEMPORARY = ".mtpfix-tmp"  # ends the names of what is being made; they begin with a dot
_ELSEWHERE = "use `--output DIR` for a folder elsewhere"
_REMEDIES = {
    errno.ENOENT: f"check that the folder is there, or {_ELSEWHERE}",
    errno.EFBIG: f"raise the limit on file sizes (ulimit -f), or {_ELSEWHERE}",
    errno.ELOOP: "remove the link that somebody put in the place of a file of mtpfix (.*mtpfix-*)",
    errno.EISDIR: "remove the folder that stands in the place of a file of mtpfix (.*mtpfix*)",
    errno.EIO: f"check the disk, or {_ELSEWHERE}",
    errno.EROFS: _ELSEWHERE,
    errno.ENOSPC: f"free some space, or {_ELSEWHERE}",
    errno.EDQUOT: f"free some space, or {_ELSEWHERE}",
    errno.EACCES: f"get write permission on the folder, or {_ELSEWHERE}",
    errno.EPERM: f"get write permission on the folder and the file, or {_ELSEWHERE}",
}


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turns what the system refuses into one line and a remedy."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, _ELSEWHERE)
        raise WriteError(f"{what}: {error.strerror or error}", remedy) from error


def create(path: Path, data: bytes, like: os.stat_result | None = None) -> None:
    """Writes a new file through to the disk, with the owner and mode of another."""
    with path.open("xb") as file:
        file.write(data)
        if like is not None:
            give(path, like)
        file.flush()
        os.fsync(file.fileno())


def give(path: Path, like: os.stat_result) -> None:
    """Owner, or at least group, where the system lets us; then the mode."""
    for owner in (like.st_uid, -1) if os.name != "nt" else ():
        with contextlib.suppress(PermissionError):
            os.chown(path, owner, like.st_gid)
            break
    path.chmod(stat.S_IMODE(like.st_mode))


def sync(folder: Path) -> None:
    """Flushes the names in a folder to the disk, where folders can be flushed."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def temporary(folder: Path, name: str, what: str) -> Path:
    """Return where a file is kept that is not in its place; what is left there is swept away."""
    return folder / f".{name}.{what}{TEMPORARY}"


def backup_of(folder: Path, name: str, same: Callable[[Path], bool]) -> tuple[Path, bool]:
    """Return where the backup of a file is or would be, and whether it is there.

    Args:
        folder: where the file is.
        name: what it is called.
        same: whether a backup holds what is to be kept.
    """
    for number in itertools.count():
        path = folder / f"{name}{BACKUP}{f'.{number}' if number else ''}"
        if not os.path.lexists(path):
            break
        if path.is_file() and not path.is_symlink() and same(path):
            return path, True
    return path, False


def refuse_link(path: Path) -> None:
    """Refuses to write through a link, or over something that is no file."""
    if path.is_symlink():
        raise WriteError(
            f"{path} is a link, as the Hub cache keeps its files; writing through it would "
            "corrupt the cache for all who use it",
            "use `--output DIR`",
        )
    if path.exists() and not path.is_file():
        raise WriteError(f"{path} is not a regular file", "use `--output DIR`")


def check_unmoved(folder: Path, files: Mapping[str, bytes | None]) -> None:
    """Refuse files that are no longer what was read; None: there was none."""
    with explained(f"cannot write into {folder}"):
        for name, old in files.items():
            refuse_moved(folder / name, old)


def refuse_moved(path: Path, old: bytes | None) -> None:
    """Refuses to go on when a file is no longer what was read; None: there was none."""
    if old is None:
        if os.path.lexists(path):
            raise ConflictError(f"{path} was made meanwhile", "run the command again")
    elif not path.is_file() or path.read_bytes() != old:
        raise ConflictError(f"{path} changed since it was read", "run the command again")


def tidy(folder: Path) -> None:
    """Clears away what a killed run left in `folder`, unless another one is at work there.

    A folder without such traces is not touched, and one that cannot be cleared is no error:
    what is left stands in nobody's way.
    """
    with contextlib.suppress(OSError):
        if not (os.path.lexists(folder / LOCK) or any(folder.glob(f".*{TEMPORARY}"))):
            return
        handle = take(folder / LOCK)
        if handle is not None:
            with released(folder / LOCK, handle):
                sweep(folder)


def sweep(folder: Path) -> None:
    """Removes temporary files; the caller's lock says that no living run needs them."""
    for path in folder.glob(f".*{TEMPORARY}"):
        (shutil.rmtree if path.is_dir() and not path.is_symlink() else os.unlink)(path)
