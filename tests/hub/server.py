"""A server on the loopback interface that behaves as the Hub does, as far as mtpfix asks it.

Small files come from the Hub's own address; safetensors files are redirected to another
origin, as from a content network. Faults are planted by path and used up in order.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

MAIN = "main"
GOOD_TOKEN = "hf_" + "good" * 8
READ_TOKEN = "hf_" + "read" * 8


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


def sparse(data: bytes) -> Sparse:
    """A file of just these bytes."""
    return Sparse(data, len(data))


@dataclass
class Repo:
    """A model repo."""

    commits: dict[str, dict[str, Sparse]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    prs: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)

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


Fault = Callable[["_Handler"], bool]
"""Answers in the place of the server; False: the server answers all the same."""


@dataclass
class Hub:
    """The whole server.

    Attributes:
        url: where it listens. requests: method, path and range of each, in order.
        sent: bytes of bodies that were sent.
        latency: seconds before each answer.
        faults: by a part of the path.
    """

    url: str = ""
    cdn: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    tokens: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0
    latency: float = 0.0
    faults: dict[str, list[Fault]] = field(default_factory=dict)

    def fault(self, path: str) -> Fault | None:
        """The next fault for a path."""
        for part, waiting in self.faults.items():
            if part in path and waiting:
                return waiting.pop(0)
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    is_cdn = False

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_HEAD(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, how: Callable[[str], None]) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range", "")))
        login = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.hub.tokens.append(("cdn" if self.is_cdn else "hub", login))
        self.login = login
        time.sleep(self.hub.latency)
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.hub.fault(path)
        if fault is not None and fault(self):
            return
        try:
            how(path)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    # --- answers -----------------------------------------------------------------

    def error(self, status: int, code: str = "", said: str = "", **headers: str) -> None:
        """An error as the Hub sends it."""
        self.send_response(status)
        for name, value in {"X-Error-Code": code, "X-Error-Message": said}.items():
            if value:
                self.send_header(name, value)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def json(self, value: object, status: int = 200) -> None:
        """A JSON document."""
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.hub.sent += len(data)

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
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{found.size}")
        self.send_header("Content-Length", str(end - begin))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(found.head).hexdigest()}"')
        self.end_headers()
        if self.command == "HEAD":
            return
        for piece in found.cut(begin, end):
            self.wfile.write(piece)
            self.hub.sent += len(piece)

    # --- what is asked -------------------------------------------------------------

    def _repo(self, name: str) -> Repo | None:
        """A repo that the login may read; else the refusal is sent."""
        if self.login and self.login not in (GOOD_TOKEN, READ_TOKEN):
            self.error(401, said="Invalid credentials in Authorization header")
            return None
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not self.login):
            self.error(404 if self.login else 401, "RepoNotFound", "Repository not found")
            return None
        return repo

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
            self.send_header("X-Linked-Size", str(repo.commits[commit][path].size))
            self.send_header("X-Linked-ETag", f'"{"0" * 64}"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.file(repo.commits[commit][path], commit)

    def _post(self, path: str) -> None:
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/(.+)", path)
        repo = self._repo(found[1]) if found else None
        if found is None or repo is None:
            if found is None:
                self.error(404)
            return
        create_pr = "create_pr=1" in urlsplit(self.path).query
        if self.login != GOOD_TOKEN and not (create_pr and self.login):
            self.error(403, said="You don't have the rights to do that")
        elif repo.resolve(found[3]) is None:
            self.error(404, "RevisionNotFound", "Invalid rev id")
        elif found[2] == "preupload":
            files = json.loads(self.body)["files"]
            told = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
            ]
            self.json({"files": told})
        else:
            self._commit(found[1], repo, found[3], create_pr=create_pr)

    def _commit(self, name: str, repo: Repo, branch: str, *, create_pr: bool) -> None:
        lines = [json.loads(line) for line in self.body.decode().splitlines() if line.strip()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        parent = header.get("parentCommit")
        if not create_pr and parent not in (None, repo.resolve(branch)):
            self.error(412, said="A commit has happened since. Please refresh and try again.")
            return
        files = dict(repo.commits[parent or repo.resolve(branch)])
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = sparse(base64.b64decode(line["value"]["content"]))
        repo.messages.append(header)
        if create_pr:
            number = len(repo.prs) + 1
            sha = repo.commit(files, f"refs/pr/{number}")
            repo.prs.append({"base": branch, **header})
        else:
            sha = repo.commit(files, branch)
        page = f"{self.hub.url}/{name}"
        told = {"success": True, "commitOid": sha, "commitUrl": f"{page}/commit/{sha}"}
        if create_pr:
            told["pullRequestUrl"] = f"{page}/discussions/{number}"
        self.json(told)


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
