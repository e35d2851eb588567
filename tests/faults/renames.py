"""Kills rewrites that give tensors other names, at random moments.

    python -m tests.faults.renames [--kills 100] [--seed 0] [--folder DIR]

A rewrite runs in a child that is forked from this process and gets SIGKILL: half of them anywhere
in the run, half of them while files are written. Others end before each call of some kinds, so that
no state between two of them is left out. After each, every file must be whole, old or new, or a
journal must hold the header of one that is not; and one more run must leave all of it new.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

from tests.faults import grafts
from tests.faults.kills import ended
from tests.faults.renamed import Renamed, Way
from tests.faults.subject import BrokenPromiseError

PHASES = ("run", "rename")
CALLS = ("replace", "link", "fsync", "unlink")
_GONE = 9


def steps(subject: Renamed, calls: Sequence[str] = CALLS) -> Counter[str]:
    """End a run before its first call of some kinds, its second, and so on; return what was left.

    Raises:
        BrokenPromiseError: a file was torn, or the next run did not complete it.
    """
    left = Counter[str]()
    while ended(grafts.forked(lambda: _cut(subject, left.total(), calls))) == _GONE:
        left[subject.state()] += 1
        if ended(grafts.forked(subject.run)) != 0:
            raise BrokenPromiseError(f"the next run fails: {subject.said()}")
        subject.check_done()
        subject.restore()
    subject.check_done()
    subject.restore()
    return left


def _cut(subject: Renamed, whole: int, calls: Sequence[str]) -> int:
    """Run until some calls were made, and end at once before the next."""
    made = 0

    def counted(real: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            nonlocal made
            made += 1
            if made > whole:
                os._exit(_GONE)
            return real(*given, **named)

        return call

    for name in calls:
        setattr(os, name, counted(getattr(os, name)))
    return subject.run()


def main() -> None:
    """Run everything and print the figures; an AssertionError says what was broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="rewrites that are killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="on the file system to be tried")
    given = parser.parse_args()
    with TemporaryDirectory(dir=given.folder) as place:
        for way in get_args(Way):
            subject = Renamed(Path(place, way, "model"), way)
            begin = time.monotonic()
            left = grafts.kills(subject, given.kills, given.seed, PHASES)
            took = time.monotonic() - begin
            late = left.pop("late", 0)
            told = ", ".join(f"{state} {count}" for state, count in sorted(left.items()))
            print(f"{way}: {left.total()} killed ({told}), {late} had ended; {took:.0f} s")
            print(f"{way}: ended before each call: {dict(steps(subject))}", flush=True)


if __name__ == "__main__":
    main()
