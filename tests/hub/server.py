"""A server on the loopback interface that behaves as the Hub does, as far as mtpfix asks it.

Small files come from the Hub's own address; safetensors files are redirected to another
origin, as from a content network. Faults are planted by path and used up in order.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub.repos import MAIN, Repo, Sparse, sparse
from tests.hub.uploads import GOOD_TOKEN, READ_TOKEN, Uploads

__all__ = ["GOOD_TOKEN", "READ_TOKEN", "Hub", "Repo", "Sparse", "serving", "sparse"]

Fault = Callable[["_Handler"], bool]
"""Answers in the place of the server; False: the server answers all the same."""


@dataclass
class Hub:
    """The whole server.

    Attributes:
        url: where it listens. requests: method, path and range of each, in order.
        sent: bytes of bodies that were sent. pieces: of files: path and bytes of each piece.
        received: bytes of large files that came in.
        latency: seconds before each answer.
        faults: by a part of the path.
    """

    url: str = ""
    cdn: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    tokens: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0
    pieces: list[tuple[str, int]] = field(default_factory=list)
    received: int = 0
    latency: float = 0.0
    faults: dict[str, list[Fault]] = field(default_factory=dict)

    def fault(self, path: str) -> Fault | None:
        """The next fault for a path."""
        for part, waiting in self.faults.items():
            if part in path and waiting:
                return waiting.pop(0)
        return None

    def fetched(self, name: str) -> int:
        """Bytes of the bodies that were sent of all files whose path ends so."""
        return sum(count for path, count in list(self.pieces) if path.endswith(name))


class _Handler(Uploads):
    """Answers to GET and HEAD, and what is the same for all.

    Attributes:
        limit: bytes of a body after which the connection breaks.
        total: size of the file, as it is told.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # small answers would wait for 40 ms
    hub: Hub
    is_cdn = False
    limit: int | None = None
    total: int | None = None

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, how: Callable[[str], None]) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range", "")))
        login = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.hub.tokens.append(("cdn" if self.is_cdn else "hub", login))
        self.login = login
        self.limit = self.total = None
        time.sleep(self.hub.latency)
        self.receive()
        fault = self.hub.fault(path)
        if fault is not None and fault(self):
            return
        try:
            how(path)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    # --- answers -----------------------------------------------------------------

    def file(self, found: Sparse, commit: str, *, ranges: bool = True) -> None:
        """A file, or the range of it that was asked for."""
        begin, end = 0, found.size
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        partial = asked is not None and ranges
        if asked is not None and partial:
            begin, end = int(asked[1]), min(int(asked[2]) + 1, found.size)
            if begin >= found.size:
                self.error(416, Content_Range=f"bytes */{found.size}")
                return
        self.send_response(206 if partial else 200)
        if partial:
            total = found.size if self.total is None else self.total
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{total}")
        self.send_header("Content-Length", str(end - begin))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(found.head).hexdigest()}"')
        self.end_headers()
        if self.command == "HEAD":
            return
        left = self.limit
        for whole in found.cut(begin, end):
            piece = whole if left is None else whole[:left]
            self.hub.sent += len(piece)  # first: a reader that has it may look at once
            self.hub.pieces.append((self.path.partition("?")[0], len(piece)))
            self.wfile.write(piece)
            if left is not None:
                left -= len(piece)
                if not left:
                    self.close_connection = True
                    return

    # --- what is asked -------------------------------------------------------------

    def _get(self, path: str) -> None:
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._info(found[1], found[2] or MAIN)
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/(.+)", path):
            self._tree(*found.groups())
        elif path == "/api/models":
            self._owned()
        elif path == "/api/whoami-v2":
            self.json({"type": "user", "name": "someone", "auth": {"accessToken": {}}})
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/(refs/pr/\d+|[^/]+)/(.+)", path):
            self._resolve(*found.groups())
        elif found := re.fullmatch(r"/cdn/([^/]+/[^/]+)/([0-9a-f]+)/(.+)", path):
            self.file(self.hub.repos[found[1]].commits[found[2]][found[3]], found[2])
        else:
            self.error(404)

    def _owned(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        owner = query["author"][0]
        self.json([{"id": n, "modelId": n} for n in self.hub.repos if n.startswith(f"{owner}/")])

    def _info(self, name: str, revision: str) -> None:
        repo = self._repo(name)
        if repo is None:
            return
        commit = repo.resolve(revision)
        if commit is None:
            self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        files = [{"rfilename": path} for path in repo.commits[commit]]
        self.json(
            {"_id": "1", "id": name, "modelId": name, "sha": commit, "siblings": files, "tags": []}
        )

    def _tree(self, name: str, revision: str) -> None:
        repo = self._repo(name)
        commit = repo.resolve(revision) if repo else None
        if repo is not None and commit is not None:
            files = repo.commits[commit].items()
            self.json(
                [{"type": "file", "path": p, "size": f.size, "oid": "0" * 40} for p, f in files]
            )

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repo = self._repo(name)
        if repo is None:
            return
        commit = repo.resolve(revision)
        if repo.gated and not self.login:
            self.error(401, "GatedRepo", "Access to model is restricted")
        elif commit is None:
            self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif path not in repo.commits[commit]:
            self.error(404, "EntryNotFound", "Entry not found", X_Repo_Commit=commit)
        elif path.endswith(".safetensors"):
            self.send_response(302)
            self.send_header("Location", f"{self.hub.cdn}/cdn/{name}/{commit}/{path}?sig=secret")
            self.send_header("X-Repo-Commit", commit)
            found = repo.commits[commit][path]
            self.send_header("X-Linked-Size", str(found.size))
            self.send_header("X-Linked-ETag", f'"{hashlib.sha256(found.head).hexdigest()}"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.file(repo.commits[commit][path], commit)


# --- faults --------------------------------------------------------------------------


def status(code: int, **headers: str) -> Fault:
    """An answer with this status."""

    def fault(handler: _Handler) -> bool:
        handler.error(code, **headers)
        return True

    return fault


def reset(handler: _Handler) -> bool:
    """The connection breaks without an answer."""
    handler.close_connection = True
    handler.connection.close()
    return True


def cut(handler: _Handler) -> bool:
    """The connection breaks in the middle of the body."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    handler.wfile.write(b"{")
    handler.close_connection = True
    return True


def cut_after(count: int) -> Fault:
    """The connection breaks after so many bytes of the body."""

    def fault(handler: _Handler) -> bool:
        handler.limit = count
        return False

    return fault


def told_size(size: int) -> Fault:
    """The file is said to have so many bytes."""

    def fault(handler: _Handler) -> bool:
        handler.total = size
        return False

    return fault


def other_range(shift: int, count: int) -> Fault:
    """So many bytes are sent, from so far behind the first one that was asked for."""

    def fault(handler: _Handler) -> bool:
        begin = int(handler.headers["Range"][6:].partition("-")[0]) + shift
        handler.headers.replace_header("Range", f"bytes={begin}-{begin + count - 1}")
        return False

    return fault


def slow(handler: _Handler) -> bool:
    """The answer takes its time."""
    time.sleep(0.3)
    return False


def no_ranges(handler: _Handler) -> bool:
    """The range is ignored: the whole file comes, again and again."""
    del handler.headers["Range"]
    return False


# --- running ---------------------------------------------------------------------------


@contextmanager
def serving() -> Iterator[Hub]:
    """A Hub on two free ports of the loopback interface."""
    hub = Hub()
    kinds = (
        type("HubHandler", (_Handler,), {"hub": hub}),
        type("CdnHandler", (_Handler,), {"hub": hub, "is_cdn": True}),
    )
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), kind) for kind in kinds]
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    hub.url, hub.cdn = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    hub.cdn = hub.cdn.replace("127.0.0.1", "localhost")  # another origin by name, too
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
