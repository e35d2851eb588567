"""Kills rewrites that give tensors other names, at random moments.

    python -m tests.faults.renames [--kills 100] [--seed 0] [--folder DIR]

A rewrite runs in a child that is forked from this process and gets SIGKILL: half of them anywhere
in the run, half of them while files are written. After each, every file must be whole, old or new,
or a journal must hold the header of one that is not; and one more run must leave all of it new.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from tests.faults import grafts
from tests.faults.renamed import Renamed, Way

PHASES = ("run", "rename")


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


if __name__ == "__main__":
    main()
