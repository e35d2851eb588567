"""A lock on a folder, which the kernel holds for as long as the process lives.

filelock was tried in its place. Beside 3.20 two runs write at once: whoever waits may lock the
file that the one before has removed. 4.3 leaves the lock file where locking fails, makes folders
that are missing, and takes a disk that refuses a lock (EACCES) for another run.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mtpfix.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK = ".mtpfix.lock"
PATIENCE = 5.0
"""Seconds to wait for another mtpfix that writes into the same folder."""


@contextmanager
def locked(folder: Path, name: str = LOCK) -> Iterator[None]:
    """Holds the folder against other mtpfix runs.

    The kernel holds the lock for as long as the process lives, so a lock file
    that a killed run left is free at once.
    """
    path = folder / name
    deadline = time.monotonic() + PATIENCE
    while (handle := take(path)) is None:
        if time.monotonic() > deadline:
            raise ConflictError(f"another mtpfix is writing into {folder}", "wait, then run again")
        time.sleep(0.02)
    with released(path, handle):
        yield


@contextmanager
def released(path: Path, handle: int) -> Iterator[None]:
    """Gives a lock back, whatever happens."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows keeps open files; an idle lock does no harm
            path.unlink()
        with contextlib.suppress(OSError):  # all is written, whatever becomes of the lock
            os.close(handle)


def take(path: Path) -> int | None:
    """Opens and locks the lock file; None while another holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    mine = False
    try:
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            _lock(handle)
            # Whoever held it last may have removed the very file that was opened here.
            mine = os.path.samestat(os.fstat(handle), path.lstat())
    except OSError:
        path.unlink(missing_ok=True)  # without locks nobody can hold it
        raise
    finally:
        if not mine:
            os.close(handle)
    return handle if mine else None


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
