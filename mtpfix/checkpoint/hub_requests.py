"""Requests to the Hub: with patience, cut off when enough has come, and told in one line.

The client, its proxies, its certificates and the login are those of huggingface_hub. It
follows a redirect to another server without taking the token along.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import sleep, time
from typing import TypeVar

from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # not in its __all__
    build_hf_headers,
    get_session,
    hf_raise_for_status,
)

from mtpfix import __version__
from mtpfix.checkpoint.source import PIECE
from mtpfix.checkpoint.strict_json import shown
from mtpfix.errors import TargetError

TRIES = 5
"""How often a request is sent before the server is given up."""
LONGEST_WAIT = 60.0
"""Seconds that a server may make us wait before the next try."""
TIMEOUT = 30.0
"""Seconds without a byte after which a request counts as failed."""
FARTHEST = 1 << 28
"""Bytes that are received and thrown away where a server knows no ranges, and no more."""

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_PARTIAL, _UNAUTHORIZED, _FORBIDDEN, _NO_SUCH_RANGE, _TOO_MANY = 206, 401, 403, 416, 429
_DIGITS = 18
"""Digits of the longest number that a header may hold."""
_SPAN = re.compile(rf"bytes (\d{{1,{_DIGITS}}})-\d{{1,{_DIGITS}}}/(\d{{1,{_DIGITS}}})")
_UNMET = re.compile(rf"bytes \*/(\d{{1,{_DIGITS}}})")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file."""

    data: bytes
    size: int | None
    """Bytes of the whole file; None where the server does not say."""


class _AgainError(Exception):
    """The server, or the network, asks for another try.

    Args:
        what: what it said, for a message.
        wait: seconds after which to come back; None: it does not say.
    """

    def __init__(self, what: str, wait: float | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.wait = wait


class ShortFileError(Exception):
    """A file ends before the bytes that are wanted; `size` is how many it has."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


def headers(token: str | None) -> dict[str, str]:
    """Headers of every request: who asks, and with which login.

    Args:
        token: None: the one of the environment, or of `hf auth login`.
    """
    made: dict[str, str] = build_hf_headers(
        token=token, library_name="mtpfix", library_version=__version__
    )
    return {**made, "Accept-Encoding": "identity"}


def fetch(url: str, sent: Mapping[str, str], begin: int, count: int, *, ranged: bool) -> Part:
    """`count` bytes of a file from `begin` on, or fewer where it ends.

    A server that sends the whole file instead is cut off once they have arrived.

    Args:
        url: of the file.
        sent: headers of the request.
        begin: first byte.
        count: number of bytes.
        ranged: whether to ask for these bytes alone.

    Raises:
        HfHubHTTPError: the Hub refuses; see `explained`.
        TargetError: it did not answer, however often it was asked.
    """
    wanted = {"Range": f"bytes={begin}-{begin + count - 1}"} if ranged else {}
    return patiently(lambda: _fetch(url, {**sent, **wanted}, begin, count))


def stream(url: str, sent: Mapping[str, str], begin: int, end: int) -> Iterator[bytes]:
    """Yield the bytes of a file from `begin` up to `end`, in pieces as they arrive.

    One request asks for all of them. Where the answer breaks off, another one goes on from the
    byte where it stopped; patience begins anew with each piece that came.

    Raises:
        HfHubHTTPError: the Hub refuses; see `explained`.
        ShortFileError: the file ends before `end`.
        TargetError: it did not answer, however often it was asked, or answers nonsense.
    """
    sizes: list[int] = []
    pieces = _pieces(url, sent, begin, end, sizes)

    def advance() -> bytes:
        nonlocal pieces
        for piece in pieces:
            return piece
        # It is used up: broken off, as an exception said before, or shorter than was asked for.
        pieces = _pieces(url, sent, begin, end, sizes)
        return next(pieces, b"")

    try:
        while begin < end:
            piece = patiently(lambda: _not_empty(advance()))
            begin += len(piece)
            yield piece
    finally:
        pieces.close()


def _not_empty(piece: bytes) -> bytes:
    if not piece:
        raise _AgainError("an empty answer")
    return piece


def _pieces(
    url: str, sent: Mapping[str, str], begin: int, end: int, sizes: list[int]
) -> Generator[bytes]:
    """Yield what one request brings, and add the size of the file to those told before."""
    wanted = {"Range": f"bytes={begin}-{end - 1}"}
    with _answer(url, {**sent, **wanted}, begin, end - begin) as (chunks, size):
        if size is not None and size < end:
            raise ShortFileError(size)
        if size is not None and size not in (sizes or [size]):
            raise TargetError(
                f"its size was {sizes[0]} bytes, and is {size} now", "run the command again"
            )
        sizes += [] if size is None else [size]
        for chunk in chunks:
            yield from (chunk[at : at + PIECE] for at in range(0, len(chunk), PIECE))


def _fetch(url: str, sent: Mapping[str, str], begin: int, count: int) -> Part:
    with _answer(url, sent, begin, count) as (chunks, size):
        return Part(b"".join(chunks), size)


@contextmanager
def _answer(
    url: str, sent: Mapping[str, str], begin: int, count: int
) -> Iterator[tuple[Iterator[bytes], int | None]]:
    """Yield `count` bytes from `begin` on as they arrive, and the size of the whole file."""
    with get_session().stream("GET", url, headers=sent, timeout=TIMEOUT) as response:
        status = response.status_code
        if status >= 400 and status != _NO_SUCH_RANGE:  # noqa: PLR2004 - where errors begin
            response.read()
            hf_raise_for_status(response)
        size = _size(response.headers, begin, status)
        if status == _NO_SUCH_RANGE:  # the file ends before it
            yield iter(()), size
            return
        partial = status == _PARTIAL
        if not partial and begin > FARTHEST:
            raise TargetError(
                f"{host()} sends whole files only, and byte {begin} is the first one wanted",
                "download the repo (hf download), and give the folder",
            )
        yield _cut(response.iter_raw(), 0 if partial else begin, count, drain=partial), size


def _size(received: Mapping[str, str], begin: int, status: int) -> int | None:
    """Bytes of the whole file, as the answer says."""
    if status == _NO_SUCH_RANGE:
        unmet = _UNMET.fullmatch(received.get("Content-Range", ""))
        return int(unmet[1]) if unmet else begin
    if status != _PARTIAL:
        length = received.get("Content-Length", "")
        return int(length) if length.isdecimal() and len(length) <= _DIGITS else None
    found = _SPAN.fullmatch(received.get("Content-Range", ""))
    if found is None or int(found[1]) != begin:
        raise _AgainError("another range than the one asked for")
    return int(found[2])


def _cut(chunks: Iterator[bytes], skip: int, count: int, *, drain: bool) -> Iterator[bytes]:
    """Yield `count` bytes after `skip`; of what follows, little is received.

    Args:
        chunks: of the answer.
        skip: bytes to pass over.
        count: bytes that are wanted.
        drain: whether to read the end of the answer, too: the connection can be used again then.
    """
    for chunk in chunks:
        piece = chunk[skip : skip + count]
        skip = max(0, skip - len(chunk))
        count -= len(piece)
        if drain and not count:
            next(chunks, None)
        if piece:
            yield piece
        if not count:
            return


# --- patience ------------------------------------------------------------------------
# Not `http_stream_backoff` of huggingface_hub: it waits as long as a server asks, be it an hour,
# fails where a body breaks off, and logs the address, which may hold a password.


def patiently(send: Callable[[], _Value], tries: int = TRIES) -> _Value:
    """Sends a request again where the server or the network asks for it, ever later.

    Raises:
        TargetError: it did not work in `tries` tries, or the server wants a long pause.
    """
    for number in range(1, tries):
        try:
            return _once(send)
        except _AgainError as error:  # noqa: PERF203 - a try is what the loop is for
            _pause(error, number)
    try:
        return _once(send)
    except _AgainError as error:
        raise TargetError(
            f"{host()} gave no answer{f' in {tries} tries' if tries > 1 else ''} ({error.what})",
            "check the connection, the proxy and HF_ENDPOINT, or try again later",
        ) from None


def _pause(error: _AgainError, number: int) -> None:
    """Waits as long as the server asks; else, after each try, twice as long as before."""
    if error.wait is not None and error.wait > LONGEST_WAIT:
        raise TargetError(
            f"{host()} asks to come back in {error.wait:.0f} seconds ({error.what})",
            "wait, or log in for a higher limit: hf auth login",
        )
    backoff = 2.0 ** (number - 1) * random.uniform(0.5, 1)  # noqa: S311 - no secret
    sleep(backoff if error.wait is None else error.wait)


def _once(send: Callable[[], _Value]) -> _Value:
    try:
        return send()
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status not in _AGAIN:
            raise
        raise _AgainError(f"HTTP {status}", _wait_of(error.response.headers)) from None
    except transport_error() as error:
        raise _AgainError(type(error).__name__) from None


def transport_error() -> type[Exception]:
    """Return what the client raises when a connection fails: huggingface_hub 2 has another one."""
    library = __import__(type(get_session()).__module__.partition(".")[0])
    error: type[Exception] = library.TransportError
    return error


def _wait_of(received: Mapping[str, str]) -> float | None:
    """Seconds that the server wants us to wait: a number, or a date."""
    text = received.get("Retry-After", "").strip()
    if text.isdecimal() and len(text) <= _DIGITS:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


# --- what can be wrong ---------------------------------------------------------------


@contextmanager
def explained(repo: str, revision: str | None = None, path: str = "") -> Iterator[None]:
    """Turns what the Hub refuses into one line and the next command to type.

    Args:
        repo: the repo in question.
        revision: branch, tag or commit that was asked for.
        path: file that was asked for.

    Raises:
        TargetError: in the place of every error of huggingface_hub.
    """
    name = f"{shown(repo)[1:-1]}: {shown(path)}" if path else shown(repo)[1:-1]
    try:
        yield
    except TargetError as error:  # of `patiently`, which does not know what is asked
        raise TargetError(f"{name}: {error.message}", error.remedy) from None
    except (OfflineModeIsEnabled, HFValidationError, EntryNotFoundError, OSError) as error:
        what, remedy = _said(error, repo, revision)
        raise TargetError(f"{name}: {what}", remedy) from None


def host() -> str:
    """The server that is asked, without the credentials that a URL may hold."""
    return re.sub(r"^\w+://|[^/@]*@|/.*", "", constants.ENDPOINT)


def _page(repo: str) -> str:
    """Address of the page of a repo, without credentials."""
    scheme = constants.ENDPOINT.partition("://")[0]
    return f"{scheme}://{host()}/{repo}"


def _said(error: Exception, repo: str, revision: str | None) -> tuple[str, str]:
    """What is wrong, and what to do about it."""
    page = _page(repo)
    for kind, what, remedy in (
        (
            LocalEntryNotFoundError,
            "not in the cache, and HF_HUB_OFFLINE is set",
            f"unset HF_HUB_OFFLINE, or fetch it while online: hf download {repo}",
        ),
        (OfflineModeIsEnabled, "HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE"),
        (HFValidationError, "not the name of a repo", "give org/name, or a folder"),
        (
            GatedRepoError,
            "gated, and this login has no access",
            f"ask for access at {page}, then: hf auth login",
        ),
        (
            RevisionNotFoundError,
            f"has no revision {shown(revision or 'main')}",
            f"see its branches and tags: {page}/refs",
        ),
        (DisabledRepoError, "disabled by the Hub", f"see {page}"),
        (EntryNotFoundError, "not in the repo", "run again: the repo may have changed"),
        (
            RepositoryNotFoundError,
            "no such repo, or a private one",
            "check the name; for a private repo: hf auth login, or --token",
        ),
        (HfHubHTTPError, *_by_status(error, page)),
    ):
        if isinstance(error, kind):
            return what, remedy
    reason = error.strerror if isinstance(error, OSError) else None
    return f"cannot be read ({reason or type(error).__name__})", "check the Hub cache (HF_HOME)"


def _by_status(error: Exception, page: str) -> tuple[str, str]:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == _UNAUTHORIZED:
        return "the token was refused", "log in again: hf auth login"
    if status == _FORBIDDEN:
        return "this login may not do that", f"ask its owners for access: {page}"
    return f"{host()} answered HTTP {status}", "try again later"
