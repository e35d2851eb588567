"""The half of the Hub that takes: commits, large files by the LFS protocol, and copies of them.

Xet is not spoken: tests that send large files set HF_HUB_DISABLE_XET.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.hub.repos import Repo, Sparse, sparse

GOOD_TOKEN = "hf_" + "good" * 8
READ_TOKEN = "hf_" + "read" * 8
LARGE = ".safetensors"


class Uploads(BaseHTTPRequestHandler):
    """Answers to POST and PUT; a subclass gives those to GET and HEAD."""

    hub: Any
    login: str
    body: bytes
    size: int
    digest: str

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_HEAD(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_PUT(self) -> None:
        self._answer(self._put)

    def _answer(self, how: Callable[[str], None]) -> None:
        raise NotImplementedError

    def _get(self, path: str) -> None:
        raise NotImplementedError

    def receive(self) -> None:
        """Reads the body, and keeps no zeros of its end: so a large file takes little memory."""
        head, digest, self.size = bytearray(), hashlib.sha256(), 0
        left = int(self.headers.get("Content-Length", 0))
        while left and (piece := self.rfile.read(min(left, 1 << 20))):
            digest.update(piece)
            if piece.count(0) < len(piece):
                head += bytes(self.size - len(head)) + piece
            self.size += len(piece)
            left -= len(piece)
        self.body, self.digest = bytes(head), digest.hexdigest()

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

    def _repo(self, name: str) -> Repo | None:
        """A repo that the login may read; else the refusal is sent."""
        if self.login and self.login not in (GOOD_TOKEN, READ_TOKEN):
            self.error(401, said="Invalid credentials in Authorization header")
            return None
        repo: Repo | None = self.hub.repos.get(name)
        if repo is None or (repo.private and not self.login):
            self.error(404 if self.login else 401, "RepoNotFound", "Repository not found")
            return None
        return repo

    def _post(self, path: str) -> None:
        name = "([^/]+/[^/]+)"
        for pattern, answer in (
            (f"/api/models/{name}/(preupload|commit)/(.+)", self._change),
            (f"/api/models/{name}/paths-info/(.+)", self._paths_info),
            (f"/api/models/{name}/lfs-files/duplicate", self._duplicate),
            (rf"/{name}\.git/info/lfs/objects/batch", self._batch),
            (f"/lfs/{name}/verify", self._verify),
        ):
            if found := re.fullmatch(pattern, path):
                repo = self._repo(found[1])
                if repo is not None:
                    answer(repo, *found.groups())
                return
        self.error(404)

    # --- commits -------------------------------------------------------------------

    def _change(self, repo: Repo, name: str, what: str, branch: str) -> None:
        create_pr = "create_pr=1" in urlsplit(self.path).query
        if self.login != GOOD_TOKEN and not (create_pr and self.login):
            self.error(403, said="You don't have the rights to do that")
        elif repo.resolve(branch) is None:
            self.error(404, "RevisionNotFound", "Invalid rev id")
        elif what == "preupload":
            paths = [file["path"] for file in json.loads(self.body)["files"]]
            told = [
                {
                    "path": path,
                    "uploadMode": "lfs" if path.endswith(LARGE) else "regular",
                    "shouldIgnore": path in repo.ignored,
                }
                for path in paths
            ]
            self.json({"files": told})
        else:
            self._commit(name, repo, branch, create_pr=create_pr)

    def _commit(self, name: str, repo: Repo, branch: str, *, create_pr: bool) -> None:
        lines = [json.loads(line) for line in self.body.decode().splitlines() if line.strip()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        head, parent = repo.resolve(branch), header.get("parentCommit")
        if not create_pr and parent not in (None, head):
            self.error(412, said="A commit has happened since. Please refresh and try again.")
            return
        files = dict(repo.commits[str(parent or head)])
        for key, value in ((line["key"], line["value"]) for line in lines):
            if key == "file":
                files[value["path"]] = sparse(base64.b64decode(value["content"]))
            elif key == "lfsFile" and value["oid"] not in repo.objects:
                self.error(400, said="An LFS pointer pointed to a file that does not exist.")
                return
            elif key == "lfsFile":
                files[value["path"]] = repo.objects[value["oid"]]
        repo.messages.append(header)
        sha = repo.commit(files, f"refs/pr/{len(repo.prs) + 1}" if create_pr else branch)
        page = f"{self.hub.url}/{name}"
        told = {"success": True, "commitOid": sha, "commitUrl": f"{page}/commit/{sha}"}
        if create_pr:
            repo.prs.append({"base": branch, **header})
            told["pullRequestUrl"] = f"{page}/discussions/{len(repo.prs)}"
        self.json(told)

    # --- large files -----------------------------------------------------------------

    def _batch(self, repo: Repo, name: str) -> None:
        asked = json.loads(self.body)
        if self.login != GOOD_TOKEN and not (self.login and "ref" not in asked):
            self.error(403, said="You don't have the rights to do that")
            return
        told = []
        for file in asked["objects"]:
            to = {
                "upload": {"href": f"{self.hub.cdn}/lfs/{name}/{file['oid']}?sig=secret"},
                "verify": {"href": f"{self.hub.url}/lfs/{name}/verify"},
            }
            told.append(file if file["oid"] in repo.objects else {**file, "actions": to})
        self.json({"transfer": "basic", "objects": told})

    def _put(self, path: str) -> None:
        found = re.fullmatch("/lfs/([^/]+/[^/]+)/([0-9a-f]{64})", path)
        if found is None or self.digest != found[2]:
            self.error(400)
            return
        self.hub.repos[found[1]].objects[found[2]] = Sparse(self.body, self.size)
        self.hub.received += self.size
        self.json({})

    def _verify(self, repo: Repo, _: str) -> None:
        asked = json.loads(self.body)
        there = repo.objects.get(asked["oid"])
        if there is not None and there.size == asked["size"]:
            self.json({})
        else:
            self.error(400, said="not there")

    def _paths_info(self, repo: Repo, _: str, revision: str) -> None:
        commit = repo.resolve(revision)
        if repo.gated and not self.login:
            self.error(401, "GatedRepo", "Access to model is restricted")
            return
        if commit is None:
            self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        told: list[dict[str, Any]] = []
        for path in parse_qs(self.body.decode())["paths"]:
            file = repo.commits[commit].get(path)
            if file is not None:
                told.append({"type": "file", "path": path, "size": file.size, "oid": "0" * 40})
            if file is not None and path.endswith(LARGE):
                told[-1]["lfs"] = {"oid": file.sha256(), "size": file.size, "pointerSize": 1}
                told[-1] |= {"xetHash": "f" * 64} if repo.xet else {}
        self.json(told)

    def _duplicate(self, repo: Repo, _: str) -> None:
        asked = json.loads(self.body)
        target = self._repo(asked["target"]["name"])
        if target is None:
            return
        if self.login != GOOD_TOKEN:
            self.error(403, said="You don't have the rights to do that")
            return
        names = [file["filename"] for file in asked["files"]]
        shards = [files[n] for files in repo.commits.values() for n in names if n in files]
        there = {shard.sha256(): shard for shard in shards}
        for file in asked["files"]:
            target.objects[file["sha256"]] = there[file["sha256"]]
        self.json({"success": [file["sha256"] for file in asked["files"]], "failed": []})
