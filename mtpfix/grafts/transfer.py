"""The bytes of a block, from the base into a file: a few ranges at a time, and resumable.

Each range is written where it belongs and hashed as it passes; a journal beside the file says how
much of each tensor has come, and what the hash of that is. After a cut, what the journal names is
read and hashed again, and only the rest is fetched.
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
from mtpfix.errors import ConflictError, MtpfixError, WriteError
from mtpfix.grafts.dequantize import dequantize
from mtpfix.grafts.layout import Layout, Part, Unit, runs
from mtpfix.grafts.lineage import Lineage
from mtpfix.grafts.pieces import Piece
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
        compared: is called with what the base is to the target, before anything is fetched.
        scanner: makes what looks at the bytes of one tensor of the new shard; None: nothing does.
            Only the last one that it made for a tensor has seen what is written.
    """

    expected: Callable[[int], None] = lambda _: None
    moved: Callable[[int], None] = lambda _: None
    compared: Callable[[Lineage], None] = lambda _: None
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
    begun: dict[str, _Passing] = field(default_factory=dict)
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
        units = self.layout.units({name: each.count for name, each in self.begun.items()})
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
        """Take over what is there: tensors whose bytes have the hash of the journal."""
        self.journal.seek(0)
        noted: dict[str, object] = {}
        *lines, cut = self.journal.read().split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, RecursionError):  # not ours
                noted |= json.loads(line)
        self.journal.truncate(self.journal.tell() - len(cut))
        for unit in self.layout.units():
            for part in unit.parts:
                match noted.get(part.piece.name):
                    case [int(count), str(known)]:
                        self._take_over(part, count, known)

    def _take_over(self, part: Part, count: int, known: str) -> None:
        passing = _Passing(self, part)
        self.file.seek(part.begin)
        while left := min(count - passing.count, passing.left):
            data = self.file.read(min(PIECE, left)) if left > 0 else b""
            if not data:
                return
            passing.take(memoryview(data), write=False)
        if passing.digest() != known:
            return
        self.begun[part.piece.name] = passing
        if passing.left:
            self.watch.moved(passing.count)
        else:
            passing.finish()
            self.watch.moved(part.piece.fetched)

    # --- one range -----------------------------------------------------------------------

    def _fetch(self, unit: Unit) -> None:
        """Fetch some tensors, and note in the journal what has come of them."""
        passed: list[_Passing] = []
        try:
            self._receive(unit, passed)
        except ConflictError:  # the file changed meanwhile: nothing of it counts
            passed.clear()
            raise
        finally:
            notes = (json.dumps({each.name: [each.count, each.digest()]}) for each in passed)
            with self.lock:
                self.journal.seek(0, os.SEEK_END)
                self.journal.write("".join(f"{note}\n" for note in notes).encode())

    def _receive(self, unit: Unit, passed: list[_Passing]) -> None:
        scales = self._scales(unit)
        stream = self._ahead(unit.shard, unit.begin_in_base, unit.end_in_base)
        for part in unit.parts:
            passing = self.begun.get(part.piece.name) or _Passing(self, part)
            passed.append(passing)
            arrived = stream.between(part.rest.begin, part.rest.end)
            scale = part.piece.scale
            if scale is None:
                for data in arrived:
                    passing.take(data)
            else:
                codes = _joined(arrived)
                made = dequantize(codes, part.piece.stored, scales[scale.name], scale)
                passing.take(memoryview(made))
            passing.finish()
        stream.end()

    def _scales(self, unit: Unit) -> Mapping[str, bytearray]:
        """Return the scales of what is converted: they are small beside it."""
        found: dict[str, bytearray] = {}
        for run in runs({piece.scale for piece in unit.pieces if piece.scale is not None}):
            stream = self._ahead(run[0].shard, run[0].begin, run[-1].end)
            found |= {each.name: _joined(stream.between(each.begin, each.end)) for each in run}
            stream.end()
        return found

    def _ahead(self, shard: str, begin: int, end: int) -> _Ahead:
        return _Ahead(self._stream(shard, begin, end), begin)

    def _stream(self, shard: str, begin: int, end: int) -> Iterator[bytes]:
        try:
            for data in self.source.stream(shard, begin, end):
                if self.stop.is_set():
                    raise _StoppedError
                self.watch.moved(len(data))
                yield data
        except MtpfixError as error:  # whose file it is, its name does not tell
            raise error.of("base") from None

    def _put(self, place: int, data: bytes | memoryview) -> None:
        """Write bytes at a place of the file."""
        with self.lock:
            self.file.seek(place)
            rest = memoryview(data)
            while rest:
                rest = rest[self.file.write(rest) :]


class _StoppedError(Exception):
    """Another range failed: this one need not go on."""


class _Ahead:
    """The bytes of a range as they arrive, handed out by their places."""

    def __init__(self, stream: Iterator[bytes], begin: int) -> None:
        self._stream, self._place = stream, begin
        self._rest = memoryview(b"")

    def between(self, begin: int, end: int) -> Iterator[memoryview]:
        """Yield the bytes from `begin` up to `end`; those before are passed over."""
        while self._place < end:
            self._rest = self._rest or memoryview(next(self._stream))
            wanted = self._place >= begin
            count = (end if wanted else begin) - self._place
            data, self._rest = self._rest[:count], self._rest[count:]
            self._place += len(data)
            if wanted:
                yield data

    def end(self) -> None:
        """Read on to the end, where a source says whether the file changed meanwhile."""
        for _ in self._stream:
            pass


def _joined(pieces: Iterator[memoryview]) -> bytearray:
    whole = bytearray()
    for piece in pieces:
        whole += piece
    return whole


class _Passing:
    """One tensor as its bytes pass: written, hashed, and looked at."""

    def __init__(self, transfer: _Transfer, part: Part) -> None:
        self._transfer, self._begin = transfer, part.begin
        self.name, self.left = part.piece.name, part.piece.size
        self.count = 0
        self._hash = hashlib.sha256()
        make = transfer.watch.scanner
        self._scanner = None if make is None else make(part.piece)

    def take(self, data: memoryview, *, write: bool = True) -> None:
        """Take the next bytes."""
        if write:
            self._transfer._put(self._begin + self.count, data)
        self._hash.update(data)
        if self._scanner is not None:
            self._scanner.feed(data)
        self.count += len(data)
        self.left -= len(data)

    def digest(self) -> str:
        """Return the hash of what has passed."""
        return self._hash.hexdigest()

    def finish(self) -> None:
        """Note that the tensor is whole."""
        self._transfer.hashes[self.name] = self.digest()


def _open(path: Path) -> BinaryIO:
    """Open a file for reading and writing, made where it is missing, and never through a link."""
    more = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | sum(more), 0o666), "r+b", buffering=0)
    state = os.fstat(file.fileno())
    if not stat.S_ISREG(state.st_mode) or state.st_nlink > 1:
        file.close()
        raise WriteError(f"{path} is not a plain file, or has a second name", "remove it")
    return file
