"""A checkpoint as it would be: files that are not written yet, in front of those that are there.

What is to be written can so be read, and judged, by the same code that reads what is on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from mtpfix.checkpoint.source import READ_LIMIT, Source, within
from mtpfix.checkpoint.wrapped import Wrapped
from mtpfix.errors import TargetError


class Proposed(Wrapped):
    """A source with other files than it has.

    Args:
        source: the files as they are.
        files: path -> what it would hold.
        shards: path of a new safetensors file -> its header, and the bytes of data behind it.
    """

    def __init__(
        self,
        source: Source,
        files: Mapping[str, bytes],
        shards: Mapping[str, tuple[bytes, int]] | None = None,
    ) -> None:
        super().__init__(source)
        self._files = files
        self._shards = shards or {}

    def list(self) -> tuple[str, ...]:
        """Paths of all files, those that would be new included."""
        return tuple(sorted({*self._source.list(), *self._files, *self._shards}))

    def expect(self, files: Iterable[str], headers: Mapping[str, int] | None = None) -> None:
        """Says what will be read next, of the files that are there; see `Source.expect`."""
        there = {path: size for path, size in (headers or {}).items() if path not in self._shards}
        self._source.expect([path for path in files if path not in self._files], there)

    def read(self, path: str, *, limit: int = READ_LIMIT) -> bytes:
        """All bytes of one file; see `Source.read`."""
        new = self._files.get(path)
        if new is None:
            return self._source.read(path, limit=limit)
        return within(new, path, limit)

    def read_header(self, path: str) -> tuple[bytes, int]:
        """Header bytes and data size of one safetensors file; see `Source.read_header`."""
        new = self._shards.get(path)
        return self._source.read_header(path) if new is None else new

    def stream(self, path: str, begin: int, end: int) -> Iterator[bytes]:
        """Bytes of a file that is there; see `Source.stream`."""
        if path in self._shards or path in self._files:
            raise TargetError(f"{path!r:.120} is not written yet", "graft it first")
        return self._source.stream(path, begin, end)
