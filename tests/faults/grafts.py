"""Kills grafts at random moments, sets them upon each other, and lets the disk run full.

    python -m tests.faults.grafts [--kills 500] [--pairs 50] [--seed 0] [--folder DIR]

A graft runs in a child that is forked from this process and gets SIGKILL at a random moment: a
third of them anywhere in the run, a third while bytes arrive or files are written, a third while
files are renamed. After each, a reader that follows vLLM's rules must find the old checkpoint or
the new one, and one more run must leave the new one and no traces.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from mtpfix.grafts import staging
from mtpfix.grafts.transfer import PART
from mtpfix.repair.writing import in_place
from tests.faults.grafted import Grafted
from tests.faults.kills import LATER, both, ended, killed
from tests.faults.subject import BrokenPromiseError
from tests.unit.grafts.pairs import content

PHASES = ("run", "fetch", "rename")


class Killed(Protocol):
    """What is written into a folder over and over."""

    def run(self) -> int:
        """Write it in this process; return the exit code."""

    def said(self) -> str:
        """Return what the last run has said on stderr."""

    def restore(self) -> None:
        """Make the folder what it was in the beginning."""

    def state(self) -> str:
        """What is left."""

    def check_done(self) -> None:
        """All of it is written."""


def forked(
    work: Callable[[], int],
    before: Callable[[], object] = lambda: None,
    phase: str = "run",
) -> int:
    """Start `work` in a child, which exits with what it returns; return its process id.

    Args:
        work: what the child does.
        before: what it does when the phase begins.
        phase: the whole run, the time in which bytes arrive and files are written, or the time in
            which the folder is edited.
    """
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        module: Any = staging if phase == "fetch" else in_place
        real = module.locked

        def locked(*given: Any) -> Any:
            before()
            return real(*given)

        if phase == "run":
            before()
        else:
            module.locked = locked
        code = work()
    finally:
        os._exit(code)


def duration(subject: Killed, phase: str) -> float:
    """Seconds from the beginning of a phase to the end of the run."""
    read, write = os.pipe()
    child = forked(subject.run, lambda: os.write(write, b"x"), phase)
    os.read(read, 1)
    begin = time.perf_counter()
    code = ended(child)
    if code != 0:
        raise BrokenPromiseError(f"a run that nobody disturbs fails: {subject.said()}")
    took = time.perf_counter() - begin
    os.close(read)
    os.close(write)
    subject.restore()
    return took


def kill_one(subject: Killed, dice: random.Random, spans: dict[str, float]) -> str:
    """Kill one run; return what it left, or `late` where it had ended."""
    phase = dice.choice(list(spans))
    seconds = dice.random() * LATER * spans[phase]
    code = killed(lambda tell: forked(subject.run, tell, phase), seconds)
    if code not in (0, -signal.SIGKILL):
        raise BrokenPromiseError(f"exit code {code}: {subject.said()}")
    state = subject.state()
    return "late" if code == 0 else state


def kills(subject: Killed, number: int, seed: int, phases: Sequence[str] = PHASES) -> Counter[str]:
    """Kill `number` runs; return how often each state was left.

    Args:
        subject: what is written.
        number: how often it is killed.
        seed: of chance.
        phases: the parts of a run in which it is.

    Raises:
        BrokenPromiseError: a reader found something else, or the next run did not complete it.
    """
    dice, left = random.Random(seed), Counter[str]()  # noqa: S311 - no secret
    spans = {phase: sorted(duration(subject, phase) for _ in range(3))[1] for phase in phases}
    while left.total() - left["late"] < number:
        left[kill_one(subject, dice, spans)] += 1
        if ended(forked(subject.run)) != 0:
            raise BrokenPromiseError(f"the next run fails: {subject.said()}")
        subject.check_done()
        subject.restore()
    return left


def pairs(subject: Grafted, number: int) -> Counter[tuple[int, ...]]:
    """Start two grafts that have read the same, `number` times; return their exit codes.

    Raises:
        BrokenPromiseError: something was torn, or one failed otherwise.
    """
    found = Counter[tuple[int, ...]]()
    for _ in range(number):
        found[both(lambda wait: forked(subject.run, wait, "fetch"))] += 1
        subject.check_done()
        subject.restore()
    if set(found) - {(0, 4), (0, 0)}:
        raise BrokenPromiseError(f"exit codes {dict(found)}")
    return found


def full_disks(subject: Grafted, output: Path | None = None) -> Counter[str]:
    """Let no file grow beyond some size; return what was left, and how often.

    Raises:
        BrokenPromiseError: the folder is not what it was, or the next run fails.
    """
    size = len(subject.new["model-mtp.safetensors"])
    config = len(subject.new["config.json"])
    limits = [0, 1, config - 1, config, 5000, 1 << 16, size // 2, size - 1, size]
    found = Counter[str]()
    for limit in limits:

        def bounded(limit: int = limit) -> int:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            return subject.run(output)

        code = ended(forked(bounded))
        if (code == 0) != (limit >= size) or code not in (0, 2):
            raise BrokenPromiseError(f"exit code {code} where files end at {limit}")
        if code and output is not None and output.exists():
            raise BrokenPromiseError("a new folder that is not whole")
        left = content(subject.folder)
        others = {name: data for name, data in left.items() if PART not in name}
        if code and others != subject.old:
            raise BrokenPromiseError(f"a full disk leaves {sorted(others)}")
        found["resumable" if len(left) != len(others) else "old" if code else "new"] += 1
        if (code or output is None) and ended(forked(lambda: subject.run(output))) != 0:
            raise BrokenPromiseError(f"the next run fails: {subject.said()}")
        subject.check_done(output)
        subject.restore()
        if output is not None:
            for path in output.iterdir():
                path.unlink()
            output.rmdir()
    return found


def main() -> None:
    """Run everything and print the figures; an AssertionError says what was broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=500, help="grafts that are killed")
    parser.add_argument("--pairs", type=int, default=50, help="pairs of grafts at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="on the file system to be tried")
    given = parser.parse_args()
    with TemporaryDirectory(dir=given.folder) as place:
        for shards, what in ((1, "one file without an index"), (3, "three files and an index")):
            subject = Grafted(Path(place, str(shards)), shards)
            begin = time.monotonic()
            left = kills(subject, given.kills, given.seed)
            took = time.monotonic() - begin
            late = left.pop("late", 0)
            told = ", ".join(f"{state} {count}" for state, count in sorted(left.items()))
            print(f"{what}: {left.total()} killed ({told}), {late} had ended; {took:.0f} s")
            print(f"two grafts at once: exit codes {dict(pairs(subject, given.pairs))}")
            print(f"files that may not grow: {dict(full_disks(subject))}", flush=True)


if __name__ == "__main__":
    main()
