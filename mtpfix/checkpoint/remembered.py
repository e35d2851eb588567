"""A source that keeps what is read of it twice: metadata files, and headers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mtpfix.checkpoint.header import PREFIX
from mtpfix.checkpoint.source import READ_LIMIT, Source, within
from mtpfix.checkpoint.wrapped import Wrapped


class Remembered(Wrapped):
    """The files of a source; none of them is fetched a second time.

    A graft looks at one checkpoint several times, as it is and as it would be, and needs to know
    where the data of a shard begin.

    Args:
        source: where the files are.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._files: dict[str, bytes] = {}
        self._headers: dict[str, tuple[bytes, int]] = {}

    def expect(self, files: Iterable[str], headers: Mapping[str, int] | None = None) -> None:
        """Says what will be read next; see `Source.expect`."""
        unread = {p: size for p, size in (headers or {}).items() if p not in self._headers}
        self._source.expect([path for path in files if path not in self._files], unread)

    def read(self, path: str, *, limit: int = READ_LIMIT) -> bytes:
        """All bytes of one file; see `Source.read`."""
        if path not in self._files:
            self._files[path] = self._source.read(path, limit=limit)
        return within(self._files[path], path, limit)

    def read_header(self, path: str) -> tuple[bytes, int]:
        """Header bytes and data size of one safetensors file; see `Source.read_header`."""
        if path not in self._headers:
            self._headers[path] = self._source.read_header(path)
        return self._headers[path]

    def data_start(self, path: str) -> int:
        """Return the byte of a safetensors file at which its data begin."""
        return PREFIX + len(self.read_header(path)[0])
