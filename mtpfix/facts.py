"""Where the facts about engines come from: this package, or a folder that the user brought.

`MTPFIX_FACTS` names that folder, or an installed package that is such a folder. It holds all facts,
in the places that they have in this package, and no code; none of the shipped facts is read then.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from mtpfix import __version__
from mtpfix.errors import FactsError

SWITCH = "MTPFIX_FACTS"
"""The environment variable that brings facts."""
PATTERNS = (
    "data/vllm/*.json",
    "data/sglang/*.json",
    "engines/*/families/*/policy.json",
    "engines/*/methods/*.json",
    "engines/*/methods/*/*.json",
)
"""The files that are facts, as they lie below the folder."""
LIMIT = 8_000_000
"""Bytes of the longest file that is read."""
MOST = 5000
"""Files of the largest folder."""
REMEDY = (
    f"unset {SWITCH}, or make the folder again from a checkout of mtpfix with `python -m "
    "tools.facts`; newer facts may need a newer mtpfix"
)
SHOWN = 16
"""Digits of a digest that people are shown."""


@dataclass(frozen=True, slots=True)
class Brought:
    """Facts that the user brought.

    Attributes:
        folder: where they lie.
        digest: the SHA-256 of their names and contents, as `sha256:…`.
    """

    folder: Path
    digest: str

    def __str__(self) -> str:
        """Return where they come from, for people."""
        scheme, _, digits = self.digest.partition(":")
        return f"facts of {str(self.folder)!r:.200} ({scheme}:{digits[:SHOWN]})"


def content(path: str) -> bytes:
    """Return what a file of facts holds.

    Args:
        path: where it lies in this package.

    Raises:
        FactsError: brought facts lack it, or it cannot be read.
        OSError: this package lacks it.
    """
    folder = _folder()
    return (
        (resources.files("mtpfix") / path).read_bytes() if folder is None else _read(folder, path)
    )


@cache
def names_in(path: str) -> tuple[str, ...]:
    """Return the names of what lies in a folder of facts, sorted; none where it is no folder."""
    folder = _folder()
    place = (resources.files("mtpfix") if folder is None else folder) / path
    return tuple(sorted(each.name for each in place.iterdir())) if place.is_dir() else ()


def tool() -> dict[str, str | None]:
    """Return what reports say of the program that wrote them, and of its facts."""
    known = brought()
    return {
        "name": "mtpfix",
        "version": __version__,
        "facts": None if known is None else known.digest,
    }


@cache
def brought() -> Brought | None:
    """Return the facts that the user brought; None: those of this package are in force.

    Raises:
        FactsError: they cannot be read.
    """
    folder = _folder()
    return None if folder is None else Brought(folder, digest(folder))


def digest(folder: Path) -> str:
    """Return the SHA-256 of all facts of a folder: of each file its name, its length, its bytes.

    Raises:
        FactsError: one of them cannot be read.
    """
    from hashlib import sha256  # noqa: PLC0415 - only for facts that are brought

    found = sha256()
    for name in names(folder):
        raw = _read(folder, name)
        found.update(f"{name}\0{len(raw)}\0".encode())
        found.update(raw)
    return f"sha256:{found.hexdigest()}"


def names(folder: Path) -> tuple[str, ...]:
    """Return the files of a folder that are facts, sorted.

    Raises:
        FactsError: they are too many.
    """
    found = {
        path.relative_to(folder).as_posix() for pattern in PATTERNS for path in folder.glob(pattern)
    }
    if len(found) > MOST:
        raise _refused(folder, f"more than {MOST} files")
    return tuple(sorted(found))


@cache
def _folder() -> Path | None:
    """Return the folder that the user brought; None: there is none."""
    given = os.environ.get(SWITCH, "")
    if not given:
        return None
    folder = Path(given)
    if not folder.is_dir() and given.isidentifier():
        spec = find_spec(given)
        places = () if spec is None else spec.submodule_search_locations or ()
        folder = next(map(Path, places), folder)
    if not folder.is_dir():
        raise _refused(folder, "no such folder, and no installed package of that name")
    if not (folder / "data").is_dir() or not (folder / "engines").is_dir():
        raise _refused(folder, "no facts: it has no `data` and `engines`")
    return folder.resolve()


def _read(folder: Path, name: str) -> bytes:
    place = folder / name
    try:
        if not place.is_file():
            raise _refused(folder, f"{name} is missing, or no file")
        with place.open("rb") as file:
            raw = file.read(LIMIT + 1)
    except OSError as error:
        raise _refused(folder, f"{name} cannot be read ({error.strerror})") from None
    if len(raw) > LIMIT:
        raise _refused(folder, f"{name} has more than {LIMIT} bytes")
    return raw


def refused(why: str) -> FactsError | None:
    """Return the error for brought facts that are wrong; None: those in force are our own."""
    folder = _folder()
    return None if folder is None else _refused(folder, why)


def _refused(folder: Path, why: str) -> FactsError:
    return FactsError(f"{SWITCH}={str(folder)!r:.200}: {why}", REMEDY)
