"""A base that is held in memory: its bytes, and what goes wrong on their way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mtpfix.errors import TargetError
from mtpfix.grafts.layout import Layout
from mtpfix.grafts.pieces import Piece, Stored, ordered
from mtpfix.model import Target

HUB = Target("hub", "org/base", revision="1" * 40)


@dataclass
class Memory:
    """A source of files.

    Attributes:
        files: path -> bytes.
        step: bytes of the pieces that a stream is handed out in.
        cut: after so many bytes in all the connection is gone; None: never.
        asked: the ranges that were asked for.
    """

    files: Mapping[str, bytes]
    step: int = 7
    cut: int | None = None
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    sent: int = 0

    def target(self) -> Target:
        return HUB

    def list(self) -> tuple[str, ...]:
        return tuple(sorted(self.files))

    def expect(self, files: Iterable[str], headers: Mapping[str, int] | None = None) -> None:
        pass

    def read(self, path: str, *, limit: int = 0) -> bytes:
        return self.files[path]

    def read_header(self, path: str) -> tuple[bytes, int]:
        raise NotImplementedError

    def stream(self, path: str, begin: int, end: int) -> Iterator[bytes]:
        self.asked.append((path, begin, end))
        while begin < end:
            data = self.files[path][begin : min(end, begin + self.step)]
            if self.cut is not None and self.sent + len(data) > self.cut:
                data = data[: self.cut - self.sent]
                self.sent = self.cut
                if data:
                    yield data
                raise TargetError("the connection is gone", "run again")
            self.sent += len(data)
            begin += len(data)
            yield data


def block(count: int = 4, size: int = 10) -> tuple[Memory, Layout]:
    """Return a base of two files with some tensors, and the new shard made of them."""
    files = {name: bytes((3 + len(name) + i) % 251 for i in range(1000)) for name in ("a", "bb")}
    pieces = [
        Piece(
            f"m.{n}.weight",
            Stored(
                f"m.{n}.weight", "a" if n % 2 else "bb", "BF16", (size // 2,), begin, begin + size
            ),
        )
        for n, begin in ((n, 100 + n // 2 * size) for n in range(count))
    ]
    return Memory(files), Layout(ordered(pieces), {"format": "pt"})


def whole(source: Memory, layout: Layout) -> bytes:
    """Return the file that must come of it."""
    data = [source.files[p.shard][p.stored.begin : p.stored.end] for p in layout.pieces]
    return layout.head + b"".join(data)
