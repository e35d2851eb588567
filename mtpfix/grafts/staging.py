"""The new shard on the disk, before it is put in its place: one run at a time, with room for it."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mtpfix.checkpoint.source import Source
from mtpfix.errors import RefusedError, WriteError
from mtpfix.grafts import transfer
from mtpfix.grafts.block import Block
from mtpfix.grafts.layout import Layout
from mtpfix.grafts.leftovers import LOCK
from mtpfix.grafts.transfer import Watch
from mtpfix.grafts.values import Values, refuse_broken
from mtpfix.model import Finding, Target
from mtpfix.repair.writing import disk
from mtpfix.repair.writing.locking import locked

_SPARE = 1 << 26
"""Bytes that a disk must have left beside the new shard."""


class Fetched(NamedTuple):
    """A new shard that is whole, and in nobody's way.

    Attributes:
        part: the file.
        hashes: tensor -> SHA-256 of its bytes.
        findings: what is doubtful about its values.
    """

    part: Path
    hashes: Mapping[str, str]
    findings: tuple[Finding, ...]


@contextlib.contextmanager
def fetched(
    block: Block, room: Path, watch: Watch, check: Callable[[], None] = lambda: None
) -> Iterator[Fetched]:
    """Fetch the new shard into a folder, and look at its values as they pass.

    Afterwards nothing of it is left there; after an error, what has arrived.

    Args:
        block: what is fetched.
        room: the folder.
        watch: what is told of the bytes as they pass.
        check: is called when no other graft can be at work there, before anything is fetched.

    Raises:
        RefusedError: the values of the block make it useless.
        ConflictError: another graft is at work there.
        WriteError: there is no room, or the system refused.
        MtpfixError: the base cannot be read.
    """
    values = Values()

    def judge() -> tuple[Finding, ...]:
        findings = values.findings(block)
        refuse_broken(findings)
        return findings

    order = Order(block.donor.source, block.donor.target, block.layout, block.shard)
    with received(order, room, replace(watch, scanner=values.scanner), check, judge) as made:
        yield made


class Order(NamedTuple):
    """A new shard that is wanted.

    Attributes:
        source: where its bytes come from.
        origin: what the user named it by.
        layout: what it holds.
        shard: what it will be called.
    """

    source: Source
    origin: Target
    layout: Layout
    shard: str


@contextlib.contextmanager
def received(
    order: Order,
    room: Path,
    watch: Watch,
    check: Callable[[], None] = lambda: None,
    judge: Callable[[], tuple[Finding, ...]] = lambda: (),
) -> Iterator[Fetched]:
    """Fetch a shard into a folder; see `fetched`.

    Args:
        order: what is fetched.
        room: the folder.
        watch: what is told of the bytes as they pass.
        check: is called before anything is fetched.
        judge: is called when all is there, and says what is doubtful, or refuses it.
    """
    with explained(room), locked(room, LOCK):
        check()
        part = transfer.part_of(room, order.shard, order.layout, order.origin)
        _refuse_full(room, order.layout, part)
        try:
            hashes = transfer.fetch(order.source, order.layout, part, watch)
            findings = judge()
        except RefusedError:
            transfer.forget(part)
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):  # others need the space, too
                transfer.forget(part)
            raise
        yield Fetched(part, hashes, findings)
        transfer.forget(part)


def _refuse_full(room: Path, layout: Layout, part: Path) -> None:
    """Refuse to begin what the disk has no room for."""
    there = (
        part.stat().st_blocks * 512 if part.exists() and hasattr(part.stat(), "st_blocks") else 0
    )
    needed = layout.size - there + _SPARE
    free = shutil.disk_usage(room).free
    if free < needed:
        raise WriteError(
            f"{room}: {free:,} bytes are free, and the block needs {needed:,}",
            "free some space, or use `--output DIR` for a folder elsewhere",
        )


@contextlib.contextmanager
def explained(room: Path) -> Iterator[None]:
    """Turn what the system refuses into one line."""
    with disk.explained(f"cannot write into {room}"):
        yield
