"""The bytes of a block, from the base into a file: a few ranges at a time, and resumable.

Each range is written where it belongs and hashed as it passes; a journal beside the file says which
tensors are whole and what their hashes are. After a cut, what the journal names is read and hashed
again, and only the rest is fetched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import BinaryIO, Protocol

from mtpfix.checkpoint.source import PIECE, Source
from mtpfix.errors import MtpfixError, WriteError
from mtpfix.grafts.dequantize import dequantize
from mtpfix.grafts.layout import Layout, Unit
from mtpfix.grafts.pieces import Piece, Stored
from mtpfix.model import Target

AT_ONCE = 4
"""Ranges that are fetched side by side."""
PART = ".mtpfix-part"
"""Ends the name of a file that is not whole yet; it begins with a dot."""
JOURNAL = f"{PART}.json"
"""Ends the name of its journal."""


class Scanner(Protocol):
    """Looks at the bytes of one tensor as they pass."""

    def feed(self, piece: bytes | memoryview) -> None:
        """Take the next bytes."""


@dataclass(frozen=True)
class Watch:
    """What is told of the bytes as they pass.

    Attributes:
        expected: is called once, with the number of bytes that are to come.
        moved: is called with the number of bytes that arrived.
        scanner: makes what looks at the bytes of one tensor of the new shard; None: nothing does.
            Only the last one that it made for a tensor has seen what is written.
    """

    expected: Callable[[int], None] = lambda _: None
    moved: Callable[[int], None] = lambda _: None
    scanner: Callable[[Piece], Scanner] | None = None


def part_of(folder: Path, shard: str, layout: Layout, base: Target) -> Path:
    """Return the file that a block is fetched into: of the same bytes always the same one.

    Args:
        folder: where it is.
        shard: what it will be called.
        layout: what it will hold.
        base: where that comes from.
    """
    origin: list[object] = [base.kind, base.name, base.revision]
    if base.kind != "hub":  # a commit stays what it is, a folder need not
        files = sorted({piece.shard for piece in layout.pieces})
        origin = [os.path.realpath(base.name), [_state(Path(base.name, name)) for name in files]]
    known = layout.header + json.dumps(origin).encode()
    return folder / f".{shard}-{hashlib.sha256(known).hexdigest()[:16]}{PART}"


def _state(path: Path) -> tuple[int, int]:
    """Return what changes when a file is written; of one that is not there, whatever."""
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_size, found.st_mtime_ns
    return 0, 0


def fetch(source: Source, layout: Layout, part: Path, watch: Watch) -> Mapping[str, str]:
    """Write the new shard into a file, and return the SHA-256 of each of its tensors.

    Args:
        source: the base.
        layout: the new shard.
        part: the file, new or begun; it is whole when this returns.
        watch: what is told meanwhile.

    Raises:
        TargetError: the base cannot be read; what has arrived is kept, and used by the next run.
        OSError: the file cannot be written.
    """
    transfer = _Transfer(source, layout, part, watch)
    with transfer.opened():
        transfer.run()
    return {piece.name: transfer.hashes[piece.name] for piece in layout.pieces}


def forget(part: Path) -> None:
    """Remove a file and its journal, whole or not; what stays is in nobody's way."""
    for path in (part, journal_of(part)):
        with contextlib.suppress(OSError):
            path.unlink()


def journal_of(part: Path) -> Path:
    """Return the file that says which tensors of another are whole."""
    return part.with_name(part.name.removesuffix(PART) + JOURNAL)


@dataclass
class _Transfer:
    """One file on its way."""

    source: Source
    layout: Layout
    part: Path
    watch: Watch
    hashes: dict[str, str] = field(default_factory=dict)
    stop: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the file and its journal open."""
        with _open(self.part) as self.file, _open(journal_of(self.part)) as self.journal:
            yield

    def run(self) -> None:
        """Fetch what is not there yet."""
        self.watch.expected(self.layout.fetched)
        self._resume()
        self.file.truncate(self.layout.size)
        self._put(0, self.layout.head)
        units = [u for u in self.layout.units() if any(p.name not in self.hashes for p in u.pieces)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            jobs = [pool.submit(self._fetch, unit) for unit in units]
            try:
                wait(jobs, return_when=FIRST_EXCEPTION)
            finally:
                self.stop.set()  # nothing is left to do, or somebody wants it to end
                for job in jobs:
                    job.cancel()
        errors = [job.exception() for job in jobs if not job.cancelled()]
        for error in errors:
            if error is not None and not isinstance(error, _StoppedError):
                raise error
        os.fsync(self.file.fileno())

    # --- what an earlier run has fetched -----------------------------------------------

    def _resume(self) -> None:
        """Take over the tensors that are whole: those whose bytes have the hash of the journal."""
        self.journal.seek(0)
        noted: dict[str, str] = {}
        *lines, cut = self.journal.read().split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, RecursionError):  # not ours
                noted |= json.loads(line)
        self.journal.truncate(self.journal.tell() - len(cut))
        for unit in self.layout.units():
            for piece, begin in unit.places():
                if piece.name in noted:
                    self._take_over(piece, begin, noted[piece.name])

    def _take_over(self, piece: Piece, begin: int, known: str) -> None:
        passing = _Passing(self, piece, begin)
        self.file.seek(begin)
        while passing.left and (data := self.file.read(min(PIECE, passing.left))):
            passing.take(memoryview(data), write=False)
        if passing.digest() == known:
            passing.finish()
            self.watch.moved(piece.fetched)

    # --- one range -----------------------------------------------------------------------

    def _fetch(self, unit: Unit) -> None:
        """Fetch some tensors, and note in the journal that they are whole."""
        first = unit.pieces[0]
        if first.scale is None:
            self._copy(unit)
        else:
            self._convert(first, first.scale, unit.begin)
        lines = (json.dumps({piece.name: self.hashes[piece.name]}) for piece in unit.pieces)
        with self.lock:
            os.fsync(self.file.fileno())
            self.journal.seek(0, os.SEEK_END)
            self.journal.write("".join(f"{line}\n" for line in lines).encode())

    def _copy(self, unit: Unit) -> None:
        stream = self._stream(unit.pieces[0].shard, unit.begin_in_base, unit.end_in_base)
        data = memoryview(b"")
        for piece, begin in unit.places():
            passing = _Passing(self, piece, begin)
            while passing.left:
                data = passing.take(data or memoryview(next(stream)))
            passing.finish()
        for _ in stream:  # at its end a source says whether the file changed meanwhile
            pass

    def _convert(self, piece: Piece, scale: Stored, begin: int) -> None:
        codes, scales = bytearray(), bytearray()
        for each, held in ((piece.stored, codes), (scale, scales)):
            for data in self._stream(each.shard, each.begin, each.end):
                held.extend(data)
        passing = _Passing(self, piece, begin)
        passing.take(memoryview(dequantize(codes, piece.stored, scales, scale)))
        passing.finish()

    def _stream(self, shard: str, begin: int, end: int) -> Iterator[bytes]:
        try:
            for data in self.source.stream(shard, begin, end):
                if self.stop.is_set():
                    raise _StoppedError
                self.watch.moved(len(data))
                yield data
        except MtpfixError as error:  # whose file it is, its name does not tell
            raise type(error)(f"base: {error.message}", error.remedy) from None

    def _put(self, place: int, data: bytes | memoryview) -> None:
        """Write bytes at a place of the file."""
        with self.lock:
            self.file.seek(place)
            rest = memoryview(data)
            while rest:
                rest = rest[self.file.write(rest) :]


class _StoppedError(Exception):
    """Another range failed: this one need not go on."""


class _Passing:
    """One tensor as its bytes pass: written, hashed, and looked at."""

    def __init__(self, transfer: _Transfer, piece: Piece, begin: int) -> None:
        self._transfer, self._piece, self._place = transfer, piece, begin
        self.left = piece.size
        self._hash = hashlib.sha256()
        make = transfer.watch.scanner
        self._scanner = None if make is None else make(piece)

    def take(self, data: memoryview, *, write: bool = True) -> memoryview:
        """Take what belongs to this tensor, and return the rest."""
        mine, rest = data[: self.left], data[self.left :]
        if write:
            self._transfer._put(self._place, mine)
        self._hash.update(mine)
        if self._scanner is not None:
            self._scanner.feed(mine)
        self._place += len(mine)
        self.left -= len(mine)
        return rest

    def digest(self) -> str:
        """Return the hash of what has passed."""
        return self._hash.hexdigest()

    def finish(self) -> None:
        """Note that the tensor is whole."""
        self._transfer.hashes[self._piece.name] = self.digest()


def _open(path: Path) -> BinaryIO:
    """Open a file for reading and writing, made where it is missing, and never through a link."""
    more = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | sum(more), 0o666), "r+b", buffering=0)
    state = os.fstat(file.fileno())
    if not stat.S_ISREG(state.st_mode) or state.st_nlink > 1:
        file.close()
        raise WriteError(f"{path} is not a plain file, or has a second name", "remove it")
    return file
