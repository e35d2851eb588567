"""A repo of the Hub as a source: one resolved commit, and only the bytes that are asked for.

Configuration files and the index are read whole, safetensors files by ranges: the reader
tells about how long a header is, so that one range seldom is too short. Files that the Hub
cache of this machine has for the commit are read from there; offline, nothing else is.
Nothing is written anywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import (
    HfApi,
    constants,
    hf_hub_url,
    snapshot_download,
    try_to_load_from_cache,
)

from mtpfix.checkpoint import hub_requests
from mtpfix.checkpoint.header import PREFIX, header_length
from mtpfix.checkpoint.source import (
    READ_LIMIT,
    LocalSource,
    climbs_out,
    ends_early,
    too_long,
)
from mtpfix.checkpoint.strict_json import shown
from mtpfix.errors import MtpfixError, TargetError, UsageError
from mtpfix.model import Target

AT_ONCE = 8
"""Requests that one repo has under way."""
FIRST_BYTES = 1 << 18
"""Bytes asked for where nothing tells how long a header is."""
MOST_BYTES = 1 << 22
"""Bytes asked for at first, however long the header should be."""


class HubSource:
    """A model repo at one commit.

    Args:
        repo: `org/name`.
        revision: branch, tag, commit or `refs/pr/N`; None: the main branch.
        token: what to log in with; None: what the environment or `hf auth login` says.
        cache: folder of the Hub cache; None: where the Hub's own tools have it.

    Raises:
        TargetError: there is no such repo or revision, it may not be read, or the Hub
            cannot be reached.
    """

    def __init__(
        self,
        repo: str,
        revision: str | None = None,
        token: str | None = None,
        cache: str | None = None,
    ) -> None:
        self._repo = repo
        self._folder = cache
        self._headers = hub_requests.headers(token)
        self._ready: dict[str, Callable[[], Any]] = {}
        self._cache: LocalSource | None = None
        with hub_requests.explained(repo, revision):
            if constants.HF_HUB_OFFLINE:
                found = snapshot_download(
                    repo, revision=revision, local_files_only=True, cache_dir=cache
                )
                folder = Path(found)
                self._cache = LocalSource(folder)
                self._commit, self._files = folder.name, self._cache.list()
                return
            ask = partial(HfApi(token=token).model_info, repo, revision=revision)
            info = hub_requests.patiently(lambda: ask(timeout=hub_requests.TIMEOUT), tries=3)
        self._commit = info.sha or ""
        self._files = tuple(
            sorted(file.rfilename for file in info.siblings or () if _plain(file.rfilename))
        )

    def target(self) -> Target:
        """The repo and its resolved commit."""
        return Target("hub", self._repo, self._commit)

    def list(self) -> tuple[str, ...]:
        """Paths of all files, sorted; hidden folders are left out."""
        return self._files

    def expect(self, files: Iterable[str], headers: Mapping[str, int] | None = None) -> None:
        """Fetches what is about to be read, side by side; see `Source.expect`."""
        wanted: dict[str, Callable[[], object]] = {
            path: partial(self._whole, path, READ_LIMIT) for path in files
        }
        for path, length in (headers or {}).items():
            wanted[path] = partial(self._head, path, length)
        if not wanted or self._cache is not None:
            return
        with ThreadPoolExecutor(min(AT_ONCE, len(wanted))) as pool:
            self._ready.update(zip(wanted, pool.map(_kept, wanted.values()), strict=True))

    def read(self, path: str, *, limit: int = READ_LIMIT) -> bytes:
        """All bytes of one file; see `Source.read`."""
        if path not in self._ready:
            return self._whole(path, limit)
        data: bytes = self._ready.pop(path)()
        if len(data) > limit:
            raise too_long(path, len(data), limit)
        return data

    def read_header(self, path: str) -> tuple[bytes, int]:
        """Header bytes and data size of one safetensors file; see `Source.read_header`."""
        if path not in self._ready:
            return self._head(path, 0)
        found: tuple[bytes, int] = self._ready.pop(path)()
        return found

    def stream(self, path: str, begin: int, end: int) -> Iterator[bytes]:
        """Bytes of one file, in pieces; see `Source.stream`."""
        here = self._here(path)
        if here is not None:
            yield from here.stream(path, begin, end)
            return
        url = hf_hub_url(self._repo, path, revision=self._commit)
        try:
            with hub_requests.explained(self._repo, self._commit, path):
                yield from hub_requests.stream(url, self._headers, begin, end)
        except hub_requests.ShortFileError as error:
            raise ends_early(path, error.size, end) from None

    def _whole(self, path: str, limit: int) -> bytes:
        here = self._here(path)
        if here is not None:
            return here.read(path, limit=limit)
        # One byte more than allowed: that it comes says that the file is too long.
        found = self._get(path, 0, limit + 1, ranged=False)
        if len(found.data) > limit:
            raise too_long(path, found.size or len(found.data), limit)
        return found.data

    def _head(self, path: str, length: int) -> tuple[bytes, int]:
        here = self._here(path)
        if here is not None:
            return here.read_header(path)
        first = self._get(path, 0, PREFIX + min(length or FIRST_BYTES, MOST_BYTES))
        if first.size is None:
            raise TargetError(
                f"{self._repo}: {shown(path)}: the server does not tell its size",
                f"download the repo, and give the folder: hf download {self._repo}",
            )
        length = header_length(first.data[:PREFIX], first.size, file=path)
        data = first.data[PREFIX : PREFIX + length]
        if len(data) < length:
            data += self._get(path, PREFIX + len(data), length - len(data)).data
        return data, first.size - PREFIX - length

    def _here(self, path: str) -> LocalSource | None:
        """The folder of this machine that has the file at this commit, if one does."""
        if self._cache is not None:
            return self._cache
        found = try_to_load_from_cache(
            self._repo, path, revision=self._commit, cache_dir=self._folder
        )
        return LocalSource(Path(found).parents[path.count("/")]) if isinstance(found, str) else None

    def _get(self, path: str, begin: int, count: int, *, ranged: bool = True) -> hub_requests.Part:
        """`count` bytes of a file from `begin` on, or fewer where it ends."""
        url = hf_hub_url(self._repo, path, revision=self._commit)
        with hub_requests.explained(self._repo, self._commit, path):
            return hub_requests.fetch(url, self._headers, begin, count, ranged=ranged)


def repos(owner: str, token: str | None = None) -> tuple[str, ...]:
    """The repos of a user or an organization that hold safetensors files, sorted.

    Raises:
        TargetError: the Hub cannot be asked.
    """
    if not owner:
        raise UsageError("the name of the organization is empty", "give --org NAME")
    api = HfApi(token=token)
    with hub_requests.explained(owner), _without_warnings():
        found = hub_requests.patiently(  # the client tries again by itself
            lambda: [model.id for model in api.list_models(author=owner, filter="safetensors")],
            tries=1,
        )
    return tuple(sorted(found))


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep the Hub's client from telling each time that it tries again."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _plain(path: str) -> bool:
    """Whether a path stays in the repo and lies in no hidden folder."""
    return not climbs_out(path) and not any(p.startswith(".") for p in path.split("/")[:-1])


def _kept(work: Callable[[], object]) -> Callable[[], object]:
    """The result of some work, or its error, to be had when it is asked for."""
    try:
        return partial(_given, work())
    except MtpfixError as error:
        return partial(_raised, error)


def _given(value: object) -> object:
    return value


def _raised(error: MtpfixError) -> object:
    raise error
