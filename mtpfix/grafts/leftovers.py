"""What a killed graft has left in a folder: a weight file that nothing names, and parts of one."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mtpfix.checkpoint import strict_json
from mtpfix.errors import MtpfixError
from mtpfix.grafts import manifest, transfer
from mtpfix.repair.index import INDEX
from mtpfix.repair.writing.locking import released, take

LOCK = ".mtpfix-graft.lock"
"""Held for as long as a graft fetches and writes."""
_JOURNAL = re.compile(r"\.(model-mtp(?:-\d+)?\.safetensors)-[0-9a-f]{16}\.mtpfix-part\.json")


def put_right(folder: Path) -> None:
    """Take a weight file out again that was renamed into place, and that the index does not name.

    It becomes the part that it was, which the next run goes on with. A folder without such traces
    is not touched, and one that cannot be put right is no error: what is left does no harm.
    """
    with contextlib.suppress(OSError, MtpfixError), _alone(folder) as mine:
        for journal in _journals(folder) if mine else ():
            _put_back(folder, journal)


def clear(folder: Path) -> None:
    """Remove the parts that no run will go on with: the block is in the folder."""
    with contextlib.suppress(OSError), _alone(folder) as mine:
        if mine:
            forget(folder)


def forget(folder: Path) -> None:
    """Remove the parts in a folder, where that is possible; the caller holds the lock."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f".model-mtp*{transfer.PART}*"):
            path.unlink()


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Hold the lock where there are traces and no other graft is at work; yield whether."""
    there = os.path.lexists(folder / LOCK) or any(folder.glob(f".model-mtp*{transfer.PART}*"))
    handle = take(folder / LOCK) if there else None
    if handle is None:
        yield False
        return
    with released(folder / LOCK, handle):
        yield True


def _journals(folder: Path) -> list[Path]:
    return [path for path in folder.glob(".model-mtp*") if _JOURNAL.fullmatch(path.name)]


def _put_back(folder: Path, journal: Path) -> None:
    part = journal.with_name(journal.name.removesuffix(".json"))
    named = _JOURNAL.fullmatch(journal.name)
    if named is None or part.exists():
        return
    shard = folder / named[1]
    if not os.path.lexists(shard):
        journal.unlink()  # of bytes that are in another folder, or nowhere
    elif shard.is_file() and not shard.is_symlink() and not _is_read(folder, shard.name):
        (folder / manifest.name_of(shard.name)).unlink(missing_ok=True)
        os.replace(shard, part)  # noqa: PTH105


def _is_read(folder: Path, shard: str) -> bool:
    """Return whether an engine reads a weight file; without an index it reads every one."""
    if not (folder / INDEX).is_file():
        return True
    index = strict_json.loads((folder / INDEX).read_bytes(), INDEX)
    named = index.get("weight_map") if isinstance(index, dict) else None
    return not isinstance(named, dict) or shard in named.values()
