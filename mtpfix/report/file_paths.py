"""Where the files of a target lie, for programs that open them. Pure."""

from __future__ import annotations

import posixpath
import re
from pathlib import PurePath
from urllib.parse import quote

from mtpfix.model import Finding, Report, Target

CONFIG = "config.json"
"""The file of a finding that names none."""

_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Surrogates that stand for no byte of a path."""

_SAFE = "/!$&'()*+,;=:@~"
"""Characters of a path that a URI may hold as they are."""


def file_of(finding: Finding, report: Report) -> str:
    """The file that a finding is about; the one that holds the metadata where it names none."""
    if finding.where is not None:
        return finding.where.file
    return next((place.partition("#")[0] for place in report.quant_files), CONFIG)


def path(target: Target, file: str) -> str | None:
    """Path of a file of a folder, as seen from where the command ran; None for the Hub."""
    if target.kind == "hub":
        return None
    return posixpath.normpath(posixpath.join(PurePath(target.name).as_posix(), file))


def uri(found: str) -> str:
    """A path as a URI reference: relative paths stay relative."""
    encoded = _encoded(found, _SAFE)
    if found.startswith("/"):
        return f"file://{encoded}"
    # A colon in the first segment would be read as the end of a scheme.
    return f"./{encoded}" if ":" in encoded.partition("/")[0] else encoded


def base(target: Target) -> str:
    """URI of a Hub repo at its commit, with a slash at the end."""
    at = f"@{_encoded(target.revision, '')}" if target.revision else ""
    return f"hf://{_encoded(target.name, '/')}{at}/"


def _encoded(text: str, safe: str) -> str:
    """Percent-encoded; bytes of a path that are no text stay these bytes."""
    return quote(_LONE.sub("\ufffd", text).encode("utf-8", "surrogateescape"), safe=safe)
