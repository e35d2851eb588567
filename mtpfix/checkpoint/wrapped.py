"""A source in front of another, which answers for it where a subclass does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from mtpfix.checkpoint.source import READ_LIMIT, Source
from mtpfix.model import Target


class Wrapped:
    """All that a source hands out, as another has it; see `Source`.

    Args:
        source: the other.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def target(self) -> Target:
        """What the user pointed at."""
        return self._source.target()

    def list(self) -> tuple[str, ...]:
        """Paths of all files; see `Source.list`."""
        return self._source.list()

    def expect(self, files: Iterable[str], headers: Mapping[str, int] | None = None) -> None:
        """Says what will be read next; see `Source.expect`."""
        self._source.expect(files, headers)

    def read(self, path: str, *, limit: int = READ_LIMIT) -> bytes:
        """All bytes of one file; see `Source.read`."""
        return self._source.read(path, limit=limit)

    def read_header(self, path: str) -> tuple[bytes, int]:
        """Header bytes and data size of one safetensors file; see `Source.read_header`."""
        return self._source.read_header(path)

    def stream(self, path: str, begin: int, end: int) -> Iterator[bytes]:
        """The bytes of a file from `begin` up to `end`; see `Source.stream`."""
        return self._source.stream(path, begin, end)
