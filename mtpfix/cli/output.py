"""Streams: the result goes to stdout or a file, everything else to stderr."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from mtpfix.errors import MtpfixError, UsageError, WriteError
from mtpfix.report.inert_text import ASCII, PROSE_LIMIT, inert

ColorWish = Literal["auto", "always", "never"]

PIPED_WIDTH = 100
"""Columns where nobody tells how wide the reader's window is."""

_SIGNS = "".join(map(chr, ASCII))
_RED, _PLAIN = "\033[1;31m", "\033[0m"
_FORCING = ("FORCE_COLOR", "CLICOLOR_FORCE")
_WIPED = "\r\033[K"
"""Takes the line back on which a terminal stands."""


@dataclass(frozen=True, slots=True)
class Screen:
    """What a stream can show.

    Attributes:
        width: columns. color: whether escape codes are welcome.
        ascii: whether signs such as `✓` cannot be shown. tty: whether a person looks at it.
    """

    width: int
    color: bool
    ascii: bool
    tty: bool


def screen(stream: TextIO, wish: ColorWish) -> Screen:
    """What `stream` can show, as far as it and the environment tell."""
    tty = stream.isatty()
    return Screen(
        width=shutil.get_terminal_size((PIPED_WIDTH, 24)).columns,
        color=_colored(wish, tty=tty),
        ascii=not _can_show_signs(stream),
        tty=tty,
    )


def result_screen(wish: ColorWish, file: Path | None) -> Screen:
    """The screen of the result: stdout, or a plain file."""
    if file is None:
        return screen(sys.stdout, wish)
    return Screen(PIPED_WIDTH, color=wish == "always", ascii=False, tty=False)


def _colored(wish: ColorWish, *, tty: bool) -> bool:
    """Whether to colour: the option goes before NO_COLOR, that before what forces colours."""
    if wish != "auto":
        return wish == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if any(os.environ.get(name, "0") not in ("", "0") for name in _FORCING):
        return True
    return tty and os.environ.get("TERM") != "dumb"


def _can_show_signs(stream: TextIO) -> bool:
    try:
        _SIGNS.encode(stream.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


# --- writing -----------------------------------------------------------------


def emit(text: str, file: Path | None = None) -> None:
    """Writes the result, byte for byte: to `file`, or to stdout.

    Raises:
        UsageError: the file is one that a checkpoint is made of.
        WriteError: the file cannot be written.
    """
    if file is None:
        _take_back()
        _put(sys.stdout, text)
        return
    if not file.is_symlink() and (file.is_file() or not file.exists()):
        replace(file, text)
        return
    _refuse_checkpoint(file)
    try:
        file.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise WriteError(
            f"{inert(str(file))}: cannot be written ({error.strerror})",
            "choose a path that you may write to",
        ) from error


def replace(file: Path, text: str) -> None:
    """Writes a file that others read while it is written: the old one stays until the new is whole.

    Raises:
        UsageError: the file is one that a checkpoint is made of.
        WriteError: the file cannot be written.
    """
    from mtpfix.repair.writing import disk  # noqa: PLC0415 - only where a file is replaced

    _refuse_checkpoint(file)
    part = disk.temporary(file.parent, file.name, str(os.getpid()))
    try:
        disk.create(part, text.encode("utf-8"), file.stat() if file.exists() else None)
        part.replace(file)
        disk.sync(file.parent)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise WriteError(
            f"{inert(str(file))}: cannot be written ({error.strerror})",
            "choose a path that you may write to",
        ) from error


def _refuse_checkpoint(file: Path) -> None:
    """A slip of a path must not cost what took days to make."""
    from mtpfix.checkpoint.load import CONFIGS  # noqa: PLC0415 - only where a file is written

    ends = (".safetensors", ".safetensors.index.json")
    if file.exists() and (file.name in CONFIGS or file.name.endswith(ends)):
        raise UsageError(
            f"{inert(str(file))}: this is a file of a checkpoint, and the report would replace it",
            "choose another name",
        )


def open_closed_streams() -> None:
    """Lets output go nowhere where the caller closed stdout or stderr: Python has None there."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115


def hush(wanted: bool) -> None:
    """Choose whether notes and progress are left out; errors never are."""
    global _quiet  # noqa: PLW0603 - there is one command line
    _quiet = wanted


_quiet = False


def note(text: str) -> None:
    """Write a line, or lines, for the person to stderr, unless `--quiet` leaves them out."""
    if not _quiet:
        _say(text)


def _say(text: str) -> None:
    _take_back()
    _put(sys.stderr, text if text.endswith("\n") else f"{text}\n")


@contextmanager
def working(what: str) -> Iterator[None]:
    """Says on a terminal what takes its time, and takes it back when it is done."""
    progress(f"{what} ...")
    try:
        yield
    finally:
        _take_back()


_standing = False
"""Whether a line of progress stands on the terminal: whatever is said next takes its place."""


def progress(text: str) -> None:
    """A line on a terminal that the next one takes the place of; empty: it goes away."""
    global _standing  # noqa: PLW0603 - there is one terminal
    if sys.stderr.isatty() and not _quiet:
        room = screen(sys.stderr, "never").width - 1  # a line that wraps cannot be taken back
        _put(sys.stderr, f"{_WIPED}{text[:room]}")
        _standing = bool(text)


def _take_back() -> None:
    global _standing  # noqa: PLW0603 - as above
    if _standing:
        _standing = False
        _put(sys.stderr, _WIPED)


def complain(error: MtpfixError, target: str = "") -> None:
    """An error in one line, and its remedy in another.

    Args:
        error: what ended a run, or the reading of one target of many.
        target: that target; named where the error does not name it.
    """
    named = not target or target in error.message
    said = error.message if named else f"{target}: {error.message}"
    _headed("error", said, bold=True)
    if error.remedy:
        _headed("hint", error.remedy)


def complain_of_bug(error: Exception) -> None:
    """One line for an exception that nobody foresaw."""
    said = f"{type(error).__name__} (please report; run with MTPFIX_DEBUG=1 for the traceback)"
    _headed("internal error", said, bold=True)


def _headed(label: str, text: str, *, bold: bool = False) -> None:
    color = bold and screen(sys.stderr, "auto").color
    head = f"{_RED}{label}:{_PLAIN}" if color else f"{label}:"
    _say(f"{head} {inert(text, PROSE_LIMIT)}")


def _put(stream: TextIO, text: str) -> None:
    """Writes and flushes; a reader that went away is no error."""
    try:
        buffer = getattr(stream, "buffer", None)
        if buffer is None:
            stream.write(text)
        else:
            stream.flush()
            encoding = (stream.encoding if stream.isatty() else None) or "utf-8"
            buffer.write(text.encode(encoding, "backslashreplace"))
        stream.flush()
    except OSError as error:
        # Windows says EINVAL where others say EPIPE.
        if error.errno not in (errno.EPIPE, errno.EINVAL):
            raise WriteError(
                f"the result cannot be written ({error.strerror})", "check where stdout goes"
            ) from error
        _silence(stream)


def _silence(stream: TextIO) -> None:
    """Lets the rest of a stream, and Python's flush at the end, go nowhere."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
