"""Reads the metrics of a running server over HTTP."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import unquote_to_bytes, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from mtpfix.errors import TargetError, UsageError
from mtpfix.probing import LONGEST, Probe, compared, reading

_PATH = "/metrics"
_TIMEOUT = 30.0
"""Seconds until a server counts as silent."""
_SERVE = "give the address of the server, such as http://localhost:8000"


def probe(
    url: str, seconds: float, least: float, sleep: Callable[[float], object] = time.sleep
) -> Probe:
    """Read the metrics of a server twice, and return what its draft did between.

    Args:
        url: the address of the server, or of its metrics.
        seconds: time between the readings.
        least: the share of proposed tokens that has to be taken.
        sleep: waits for some seconds.

    Raises:
        UsageError: `url` is no address of the web.
        TargetError: there are no metrics at it, or they are of no server that drafts.
    """
    address = address_of(url)
    first = reading(_fetched(address))
    sleep(seconds)
    return compared(first, reading(_fetched(address)), least)


def address_of(url: str) -> str:
    """Return the address of the metrics of a server.

    Raises:
        UsageError: it is no address of the web.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        known = parts.scheme in ("http", "https") and (parts.port is None or parts.port > 0)
        valid = known and bool(parts.hostname)
    except ValueError:
        valid = False
    if not valid:
        host = url.rpartition("@")[2].partition("?")[0]
        raise UsageError(f"{host!r:.80} is not the address of a server", _SERVE)
    path = parts.path.rstrip("/")
    path = path if path.endswith(_PATH) else f"{path.removesuffix('/v1')}{_PATH}"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def _fetched(address: str) -> str:
    """Return the metrics at an address.

    Its password goes into a header, which no redirection takes along; neither that nor its query,
    which may hold a token, comes out in an error.
    """
    parts = urlsplit(address)
    login, _, host = parts.netloc.rpartition("@")
    bare = parts._replace(netloc=host)
    shown = bare._replace(query="").geturl()
    try:
        request = Request(bare.geturl(), headers={"Accept": "text/plain"})  # noqa: S310 - checked
        if login:
            basic = base64.b64encode(unquote_to_bytes(login)).decode()
            request.add_unredirected_header("Authorization", f"Basic {basic}")
        with urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310 - the same
            data: bytes = answer.read(LONGEST + 1)
    except HTTPError as error:
        raise TargetError(f"{shown} answers {error.code}", _SERVE) from None
    except (URLError, HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise TargetError(f"{shown} cannot be read: {reason}", _SERVE) from None
    if len(data) > LONGEST:
        raise TargetError(f"the metrics at {shown} are longer than {LONGEST:,} bytes", _SERVE)
    return data.decode("utf-8", "replace")
