"""Has every system call that a rewrite makes on its folder fail, and be the last, in turn.

    python -m tests.faults.calls [--folder DIR] [--way write|output]

Needs `strace` on Linux, which refuses the calls (`--inject`). One run without faults says which
calls there are; then each gets each error that fits it, and a SIGKILL in front of it. Whatever
happens, the files must be whole: all new where the exit code is 0, all old where it is not, with
one line that says why and another that says what to do. One more run must put everything right.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from mtpfix.repair.writing.disk import TEMPORARY
from mtpfix.repair.writing.locking import LOCK
from tests.faults.subject import BACKUP, BrokenPromiseError, Subject

ROOT = Path(__file__).parents[2]
READING = ("EIO", "EACCES")
"""Errors of calls that read."""
WRITING = ("ENOSPC", "EIO", "EACCES", "EROFS")
"""Errors of all others."""
_READERS = re.compile(r"(new)?f?l?statx?(at)?|getdents64|read|pread64|lseek|ioctl|access|readlink")
_CALL = re.compile(r"\d+ +(\w+)\(.*")


class Call(NamedTuple):
    """One system call of a run: its name, how many of that name came before, the whole line."""

    name: str
    at: int
    line: str


class Way:
    """Where a repair goes, and what the folders must look like after.

    Args:
        place: an empty folder.
        output: whether a new folder is made, or the old one written to.
    """

    def __init__(self, place: Path, *, output: bool) -> None:
        self.subject = Subject(place / "model")
        self.output = place / "out" if output else None
        folder, names = self.subject.folder, self.subject.names
        made = [name + BACKUP for name in names]
        made += [f".{name}.{what}{TEMPORARY}" for name in names for what in ("new", "old", "bak")]
        paths = [folder, *(folder / name for name in [*self.subject.old, *made, LOCK])]
        if self.output is not None:
            beside = place / f".{self.output.name}{TEMPORARY}"
            tops = (self.output, beside)
            paths += [place, place / LOCK, *tops]
            paths += [top / name for top in tops for name in self.subject.old]
        self.paths = paths

    def command(self) -> list[str]:
        words = [sys.executable, "-m", "tests.faults.once", str(self.subject.folder)]
        return words if self.output is None else [*words, str(self.output)]

    def restore(self) -> None:
        self.subject.restore()
        if self.output is not None:
            for path in [*self.subject.folder.parent.iterdir()]:
                if path != self.subject.folder:
                    remove(path)

    def check(self, code: int) -> None:
        """Whether the files are as the exit code says.

        Raises:
            BrokenPromiseError: they are not.
        """
        state = self.subject.state()
        if self.output is not None:
            if state != "old":
                raise BrokenPromiseError("the source was touched")
            state = "new" if self.output.is_dir() and any(self.output.iterdir()) else "old"
            if state == "new":
                self._check_output()
        wanted = {0: ("new",), -9: ("old", "new")}.get(code, ("old",))
        if state.rstrip("+") not in wanted:
            raise BrokenPromiseError(f"exit code {code}, and the files are {state}")

    def check_done(self) -> None:
        """Whether all is new, and nothing else is there."""
        if self.output is None:
            self.subject.check_done()
            return
        self._check_output()
        if self.subject.state() != "old":
            raise BrokenPromiseError("the source was touched")
        beside = {path.name for path in self.output.parent.iterdir()}
        if beside != {"model", "out"}:
            raise BrokenPromiseError(f"there is {sorted(beside)}")

    def _check_output(self) -> None:
        assert self.output is not None
        if {p.name: p.read_bytes() for p in self.output.iterdir()} != self.subject.new:
            raise BrokenPromiseError("the new folder is not whole")


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it."""
    if path.is_dir():
        for inner in path.iterdir():
            remove(inner)
        path.rmdir()
    else:
        path.unlink()


def traced(way: Way, *options: str, log: Path) -> subprocess.CompletedProcess[str]:
    """Runs a rewrite below strace, which looks at calls on the folders alone."""
    watched = [word for path in way.paths for word in ("-P", str(path))]
    command = ["strace", "-f", "-qq", "-o", str(log), *watched, *options, *way.command()]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def calls(way: Way, log: Path) -> list[Call]:
    """The calls of a run without faults."""
    done = traced(way, log=log)
    if done.returncode != 0:
        raise BrokenPromiseError(f"a run without faults fails: {done.stderr}")
    way.check_done()
    way.restore()
    seen = Counter[str]()
    return [call for line in log.read_text().splitlines() if (call := call_of(line, seen))]


def call_of(line: str, seen: Counter[str]) -> Call | None:
    """The call that a line of strace is about; `seen` counts those of each name."""
    named = _CALL.fullmatch(line)
    if named is None:
        return None
    seen[named[1]] += 1
    return Call(named[1], seen[named[1]], line.split(maxsplit=1)[1])


def is_reading(call: Call) -> bool:
    """Whether a call only looks."""
    return _READERS.fullmatch(call.name) is not None


def faults(call: Call) -> Iterator[str]:
    """What is done to one call, as strace wants it said."""
    for error in READING if is_reading(call) else WRITING:
        yield f"error={error}"
    yield "signal=KILL"


def plant(way: Way, call: Call, fault: str, log: Path) -> int:
    """One run with one fault; returns its exit code.

    Raises:
        BrokenPromiseError: something was not as it must be.
    """
    inject = f"--inject={call.name}:{fault}:when={call.at}"
    done = traced(way, "-e", f"trace={call.name}", inject, log=log)
    if "(INJECTED)" not in log.read_text() and "KILL" not in log.read_text():
        raise BrokenPromiseError("the fault was not planted: the run took another way")
    way.check(done.returncode)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    hints = [line for line in done.stderr.splitlines() if line.startswith("hint: ")]
    if done.returncode > 0 and (len(errors), len(hints)) != (1, 1):
        raise BrokenPromiseError(f"exit code {done.returncode}, and it says {done.stderr!r}")
    again = subprocess.run(way.command(), cwd=ROOT, capture_output=True, text=True, check=False)
    if again.returncode != 0 and not (way.output is not None and done.returncode in (0, -9)):
        raise BrokenPromiseError(f"the next run fails: {again.stderr}")
    way.check_done()
    way.restore()
    return done.returncode


def main() -> int:
    """Runs everything and prints the figures; returns 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="on the file system to be tried")
    parser.add_argument("--way", choices=("write", "output"), default="write")
    given = parser.parse_args()
    with TemporaryDirectory(dir=given.folder) as place, TemporaryDirectory() as beside:
        way, log = Way(Path(place).resolve(), output=given.way == "output"), Path(beside, "log")
        found = calls(way, log)
        planted = [(call, fault) for call in found for fault in faults(call)]
        print(f"{len(found)} calls")
        return tried(planted, lambda *which: plant(way, *which, log), way.restore)


def tried(
    planted: Iterable[tuple[Call, str]],
    plant: Callable[[Call, str], int],
    restore: Callable[[], None],
) -> int:
    """Plants faults and prints the figures; returns 1 if a promise was broken.

    Args:
        planted: which fault at which call.
        plant: does it, and returns the exit code of the run.
        restore: is called after a broken promise.
    """
    broken, codes = 0, Counter[tuple[str, int]]()
    for call, fault in planted:
        try:
            codes[fault, plant(call, fault)] += 1
        except BrokenPromiseError as error:  # noqa: PERF203 - all are wanted
            broken += 1
            print(f"BROKEN {fault} at {call.at}. {call.line[:150]}\n       {error}", flush=True)
            restore()
    print(f"{codes.total() + broken} faults, {broken} broken promises")
    for (fault, code), count in sorted(codes.items()):
        print(f"  {fault}: exit code {code} {count} times")
    return min(broken, 1)


if __name__ == "__main__":
    sys.exit(main())
