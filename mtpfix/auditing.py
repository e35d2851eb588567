"""Many targets in one run: side by side, in the order given, and none stops the others."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mtpfix import calls
from mtpfix import targets as named
from mtpfix.errors import InternalError, MtpfixError, TargetError, UsageError
from mtpfix.model import Finding, ModelInfo, Report, Target
from mtpfix.selection import Selection, select

JOBS = 8
"""Targets that are read side by side."""

LONGEST_LIST = 10_000_000
"""Bytes of the longest list of targets."""

_STDIN = Path("-")

WORST = (5, 2, 4, 1, 3, 0)
"""Exit codes from the worst to the best: what nobody looked at, before what is wrong."""


@dataclass(frozen=True, slots=True)
class Audited:
    """What came of one target: a report, or the error that ended its reading."""

    target: str
    report: Report | None
    error: MtpfixError | None = None

    @property
    def exit_code(self) -> int:
        """That of the report, or of the error."""
        if self.report is not None:
            return self.report.exit_code
        return TargetError.exit_code if self.error is None else self.error.exit_code

    @property
    def as_report(self) -> Report:
        """The report, or one that says nothing but why there is none."""
        if self.report is not None:
            return self.report
        said = "cannot be read"
        if self.error is not None:
            remedy = self.error.remedy.rstrip(".")
            said = f"{self.error.message} ({remedy})" if remedy else self.error.message
        return Report(
            target=Target("hub" if _is_repo(self.target) else "local", self.target),
            model=ModelInfo(None, None, ()),
            method=None,
            quant_files=(),
            engines=(),
            findings=(Finding("MTP905", "error", "run", said),),
            exit_code=self.exit_code,
        )


def _is_repo(target: str) -> bool:
    try:
        return named.parse(target).path is None
    except UsageError:
        return False


def audit(
    targets: Iterable[str],
    selection: Selection | None = None,
    *,
    token: str | None = None,
    jobs: int = JOBS,
    values: bool = False,
    fixes: bool = False,
) -> Iterator[Audited]:
    """Judge targets as `check` does, each on its own.

    Few are under way at a time, whatever their number: memory does not grow with it.

    Args:
        targets: folders and repos.
        selection: engines, releases and platforms; None: as for `check`.
        token: what to log in to the Hub with; None: what its own tools use.
        jobs: how many are read side by side.
        values: whether the weights of the MTP blocks are read and judged, too.
        fixes: whether findings are given the edits that fix them.

    Yields:
        What came of each, in the order of `targets`.
    """
    asked = select() if selection is None else selection

    def one(target: str) -> Audited:
        try:
            at = named.Reference(target, token=token)
            report = calls.inspect(at, asked, values=values, fixes=fixes, gate=True)
        except MtpfixError as error:
            return Audited(target, None, error)
        except Exception as error:  # noqa: BLE001 - none stops the others
            return Audited(target, None, InternalError(error))
        return Audited(target, report)

    waiting: deque[Future[Audited]] = deque()
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        for target in targets:
            waiting.append(pool.submit(one, target))
            if len(waiting) > 2 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def worst(codes: Iterable[int]) -> int:
    """The exit code of a run, from those of its targets."""
    found = set(codes)
    return next((code for code in WORST if code in found), 0)


def from_file(path: Path) -> tuple[str, ...]:
    """Targets of a text file: one a line, without blank lines and those that begin with `#`.

    The path `-` is standard input.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        raw = _read(path)
        # Counted before it is decoded: a list of long characters must not be cut in silence.
        text = raw.decode() if len(raw) <= LONGEST_LIST else None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(
            f"{str(path)!r:.120}: cannot be read ({why})", "give a file with one target per line"
        ) from None
    if text is None:
        raise UsageError(
            f"{str(path)!r:.120}: more than {LONGEST_LIST} bytes",
            "split it into several files",
        )
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def _read(path: Path) -> bytes:
    """Return what is in a file, as far as a list may be long: a device may never end."""
    if path == _STDIN:
        return sys.stdin.buffer.read(LONGEST_LIST + 1)
    with path.open("rb") as file:
        return file.read(LONGEST_LIST + 1)


def of_owner(owner: str, token: str | None = None) -> Sequence[str]:
    """The repos of a user or an organization that hold safetensors files, sorted.

    Raises:
        TargetError: the Hub cannot be asked.
    """
    from mtpfix.checkpoint.hub import repos  # noqa: PLC0415 - heavy, and only for the Hub

    return [f"hf://{name}" for name in repos(owner, token)]
