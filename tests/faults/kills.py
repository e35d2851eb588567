"""Kills rewrites at random moments, and sets writers upon each other.

    python -m tests.faults.kills [--rewrites 1000] [--pairs 200] [--seed 0] [--folder DIR]

A rewrite runs in a child that is forked from this process and gets SIGKILL at a random moment:
half of them anywhere in the run, half of them while files are written. After each the files must
be whole, old or new, and one more run must leave everything new and nothing else. `--pairs` sets
two rewrites upon one folder that have read the same: one must win, the other exit with 4.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

from mtpfix.repair.writing import in_place
from tests.faults.subject import BrokenPromiseError, Subject

Start = Callable[[Callable[[], object]], int]
"""Starts a run in a child, and returns its process id."""
LATER = 1.3
"""How much later than its usual end a run may be killed: then it was not killed at all."""


def forked(work: Callable[[], int], before: Callable[[], object] = lambda: None) -> int:
    """Starts `work` in a child, which exits with what it returns; returns its process id.

    Args:
        work: what the child does.
        before: what it does in front of its first lock, when all is read.
    """
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        real = in_place.locked

        def locked(folder: Path) -> AbstractContextManager[None]:
            before()
            return real(folder)

        in_place.locked = locked
        code = work()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Waits for a child; its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed(start: Start, seconds: float, *, wait: bool = True) -> int:
    """Starts a run and kills it; returns its exit code.

    Args:
        start: starts it; what it is given is called when the time to be tried begins.
        seconds: how much later it is killed.
        wait: whether the time counts from then on, or from the start.
    """
    read, write = os.pipe()
    child = start(lambda: os.write(write, b"x"))
    os.close(write)
    if wait:
        os.read(read, 1)  # returns, too, when the child ends
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:  # sleep() is too coarse
        pass
    os.kill(child, signal.SIGKILL)
    code = ended(child)
    os.close(read)
    return code


def both(start: Start) -> tuple[int, ...]:
    """Starts two runs that go on together from a certain moment; returns their exit codes.

    Args:
        start: starts one; what it is given is called at that moment, and waits for the other.
    """
    read, write = os.pipe()
    ready, tell = os.pipe()

    def wait() -> None:
        os.write(tell, b"x")
        os.read(read, 1)

    children = [start(wait) for _ in "ab"]
    for _ in children:
        os.read(ready, 1)
    os.write(write, b"go")
    codes = tuple(sorted(ended(child) for child in children))
    for handle in (read, write, ready, tell):
        os.close(handle)
    return codes


def durations(subject: Subject) -> tuple[float, float]:
    """Seconds of a whole run, and of the part that writes."""
    read, write = os.pipe()
    begin = time.perf_counter()
    child = forked(subject.rewrite, before=lambda: os.write(write, b"x"))
    os.read(read, 1)
    middle = time.perf_counter()
    if ended(child) != 0:
        raise BrokenPromiseError("a run that nobody disturbs fails")
    end = time.perf_counter()
    os.close(read)
    os.close(write)
    subject.restore()
    return end - begin, end - middle


def kill_one(subject: Subject, dice: random.Random, spans: tuple[float, float]) -> str:
    """One rewrite, killed; returns what it left, or `late` where it had ended."""
    late_phase = dice.random() < 0.5
    seconds = dice.random() * LATER * spans[late_phase]
    code = killed(lambda tell: forked(subject.rewrite, tell), seconds, wait=late_phase)
    if code not in (0, -signal.SIGKILL):
        raise BrokenPromiseError(f"exit code {code}")
    state = subject.state()
    return "late" if code == 0 else state


def kills(subject: Subject, number: int, seed: int) -> Counter[str]:
    """Kills `number` rewrites; returns how often each state was left.

    Raises:
        BrokenPromiseError: a file was damaged, or the next run did not put everything right.
    """
    dice, left = random.Random(seed), Counter[str]()  # noqa: S311 - no secret
    runs = [durations(subject) for _ in range(5)]
    spans = (sorted(r[0] for r in runs)[2], sorted(r[1] for r in runs)[2])
    while left.total() - left["late"] < number:
        left[kill_one(subject, dice, spans)] += 1
        if ended(forked(subject.rewrite)) != 0:
            raise BrokenPromiseError("the next run fails")
        subject.check_done()
        subject.restore()
    return left


def pairs(subject: Subject, number: int) -> Counter[tuple[int, ...]]:
    """Two writers that have read the same, `number` times; returns their exit codes.

    Raises:
        BrokenPromiseError: something was lost.
    """
    found = Counter[tuple[int, ...]]()
    for _ in range(number):
        found[both(lambda wait: forked(subject.rewrite, wait))] += 1
        subject.check_done()
        subject.restore()
    if set(found) != {(0, 4)}:
        raise BrokenPromiseError(f"exit codes {dict(found)}")
    return found


def main() -> None:
    """Runs everything and prints the figures; an AssertionError says what was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rewrites", type=int, default=1000, help="rewrites that are killed")
    parser.add_argument("--pairs", type=int, default=200, help="pairs of writers at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="on the file system to be tried")
    given = parser.parse_args()
    with TemporaryDirectory(dir=given.folder) as place:
        for files, what in ((1, "rewrite --write"), (2, "write of two files")):
            subject = Subject(Path(place, f"model{files}"), files)
            begin = time.monotonic()
            left = kills(subject, given.rewrites, given.seed)
            took = time.monotonic() - begin
            late = left.pop("late", 0)
            told = ", ".join(f"{state} {count}" for state, count in sorted(left.items()))
            print(f"{what}: {left.total()} killed ({told}), {late} had ended; {took:.0f} s")
        subject = Subject(Path(place, "pairs"))
        codes = dict(pairs(subject, given.pairs))
        print(f"two writers at once: {given.pairs} pairs, exit codes {codes}")


if __name__ == "__main__":
    main()
