"""What the Hub on the loopback interface keeps: repos, their commits, and large files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MAIN = "main"


@dataclass(frozen=True)
class Sparse:
    """A file that begins with some bytes and goes on with zeros."""

    head: bytes
    size: int

    def cut(self, begin: int, end: int) -> Iterator[bytes]:
        """The bytes from `begin` up to `end`, in pieces."""
        yield self.head[begin:end]
        left = end - max(begin, len(self.head))
        while left > 0:
            yield bytes(min(left, 1 << 16))
            left -= 1 << 16

    def sha256(self) -> str:
        """What names the file where large files are kept."""
        digest = hashlib.sha256()
        for piece in self.cut(0, self.size):
            digest.update(piece)
        return digest.hexdigest()


def sparse(data: bytes) -> Sparse:
    """A file of just these bytes."""
    return Sparse(data, len(data))


@dataclass
class Repo:
    """A model repo.

    Attributes:
        objects: large files that were sent or copied to it, by their SHA-256.
        ignored: paths that its `.gitignore` keeps out.
        xet: whether its large files may be copied to other repos.
    """

    commits: dict[str, dict[str, Sparse]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    prs: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    objects: dict[str, Sparse] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    xet: bool = True

    def commit(self, files: dict[str, Sparse], branch: str = MAIN) -> str:
        """A new commit on a branch."""
        told = json.dumps([sorted(files), len(self.commits), branch]).encode()
        sha = hashlib.sha1(told, usedforsecurity=False).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha

    def resolve(self, revision: str) -> str | None:
        """The commit of a branch or of a hash."""
        return revision if revision in self.commits else self.branches.get(revision)
