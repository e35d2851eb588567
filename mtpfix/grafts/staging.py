"""The new shard on the disk, before it is put in its place: one run at a time, with room for it."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from mtpfix.errors import WriteError
from mtpfix.grafts import transfer
from mtpfix.grafts.plan import GraftPlan
from mtpfix.grafts.transfer import Watch
from mtpfix.repair.locking import locked

_LOCK = ".mtpfix-graft.lock"
_SPARE = 1 << 26
"""Bytes that a disk must have left beside the new shard."""


@contextlib.contextmanager
def fetched(plan: GraftPlan, room: Path, watch: Watch) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """Fetch the new shard into a folder; yield the file, and the hashes of its tensors.

    Afterwards nothing of it is left there; after an error, what has arrived.
    """
    with explained(room), locked(room, _LOCK):
        part = transfer.part_of(room, plan.layout)
        _refuse_full(room, plan, part)
        yield part, transfer.fetch(plan.donor.source, plan.layout, part, watch)
        transfer.forget(part)
        transfer.forget_all(room)


def _refuse_full(room: Path, plan: GraftPlan, part: Path) -> None:
    """Refuse to begin what the disk has no room for."""
    there = (
        part.stat().st_blocks * 512 if part.exists() and hasattr(part.stat(), "st_blocks") else 0
    )
    needed = plan.layout.size - there + _SPARE
    free = shutil.disk_usage(room).free
    if free < needed:
        raise WriteError(
            f"{room}: {free:,} bytes are free, and the block needs {needed:,}",
            "free some space, or use `--output DIR` for a folder elsewhere",
        )


@contextlib.contextmanager
def explained(room: Path) -> Iterator[None]:
    """Turn what the system refuses into one line; a full disk is not left fuller."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            transfer.forget_all(room)
        raise WriteError(
            f"cannot write into {room}: {error.strerror or error}",
            "free some space, or use `--output DIR` for a folder elsewhere",
        ) from error
