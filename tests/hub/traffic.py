"""What a graft asked of its base: headers, slices of what is not the block, and the block."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.hub.pairs import header_of
from tests.hub.repos import Repo, Sparse
from tests.hub.server import Hub, reset

Use = Literal["header", "slice", "block"]
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@dataclass
class Count:
    """Requests and bytes."""

    requests: int = 0
    size: int = 0


@dataclass
class Regions:
    """Where the block lies in the files of a base.

    Attributes:
        files: of the commit that is read.
        roots: beginnings of the names of the block's tensors.
    """

    files: Mapping[str, Sparse]
    roots: tuple[str, ...]
    spans: dict[str, list[tuple[int, int]]] = field(init=False)
    starts: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.spans, self.starts = {}, {}
        for name, file in self.files.items():
            if name.endswith(".safetensors"):
                start, header = header_of(file)
                self.starts[name] = start
                found = (e["data_offsets"] for n, e in header.items() if n.startswith(self.roots))
                self.spans[name] = sorted((start + begin, start + end) for begin, end in found)

    def use(self, path: str, asked: str) -> Use:
        """What a range of a file is asked for."""
        name, (begin, end) = path.rpartition("/")[2], span(asked)
        if begin < self.starts[name]:
            return "header"
        return "block" if any(b < end and begin < e for b, e in self.spans[name]) else "slice"


def span(asked: str) -> tuple[int, int]:
    """The first byte of a range, and the one behind its last."""
    found = _RANGE.fullmatch(asked)
    assert found is not None
    return int(found[1]), int(found[2]) + 1


def traffic(hub: Hub, repo: str, regions: Regions) -> dict[Use, Count]:
    """The ranges that were asked for, as if all of them had come."""
    counts: dict[Use, Count] = {"header": Count(), "slice": Count(), "block": Count()}
    for method, path, asked in hub.requests:
        if method == "GET" and f"/cdn/{repo}/" in path:
            begin, end = span(asked)
            count = counts[regions.use(path, asked)]
            count.requests += 1
            count.size += end - begin
    return counts


@dataclass
class Outage:
    """A server that falls silent when a byte is its turn, until it is put right.

    Attributes:
        hub: the server.
        repo: whose files it no longer sends.
        use: what they are asked for.
        byte: the first byte that does not come.
        name: the file it is in; empty: whichever is asked for first.
        sent: bytes that were asked for that use and have come.
        down: whether it is silent.
    """

    hub: Hub
    repo: str
    regions: Regions
    use: Use
    byte: int
    name: str = ""
    sent: int = 0
    down: bool = False

    def begin(self) -> None:
        """From now on."""
        self.hub.faults[f"/cdn/{self.repo}/"] = [self.fault] * 1000

    def end(self) -> None:
        """It is put right; bytes are counted on."""
        self.byte, self.down = -1, False

    def fault(self, handler: Any) -> bool:
        """Send what comes before the byte."""
        path, asked = handler.path.partition("?")[0], handler.headers["Range"]
        if self.regions.use(path, asked) != self.use:
            return False
        if self.down:
            return reset(handler)
        begin, end = span(asked)
        if path.endswith(self.name) and begin <= self.byte < end:
            self.down, end = True, self.byte
            handler.limit = end - begin
        self.sent += end - begin
        return False


def base_regions(repo: Repo, *roots: str) -> Regions:
    """Where the block lies in the newest commit of a base."""
    return Regions(repo.commits[repo.branches["main"]], roots or ("mtp.",))
