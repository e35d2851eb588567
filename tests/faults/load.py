"""Checks many checkpoints in one process: memory and open files must stay where they are.

    python -m tests.faults.load [--number 2000]

Each has another name, another list of entries and other patterns, so that nothing that is kept
from one to the next can hide.
"""

from __future__ import annotations

import argparse
import gc
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psutil

import mtpfix
from tests.unit.cli.conftest import Folder


class Sample(NamedTuple):
    """What the process holds after some checkpoints; memory in MB."""

    checked: int
    memory: float
    files: int
    threads: int


def sample(checked: int) -> Sample:
    gc.collect()
    me = psutil.Process()
    return Sample(checked, me.memory_info().rss / 1e6, me.num_fds(), me.num_threads())


def checked(place: Path, number: int, every: int) -> list[Sample]:
    """Checks `number` checkpoints; a sample after each `every`."""
    folder, samples = Folder(place / "model"), []
    for count in range(1, number + 1):
        folder.path = folder.path.rename(place / f"model-{count}")
        folder.ignore("lm_head", f"model.layers.{count}.x", rf"re:.*mtp{count}\..*")
        if mtpfix.check(folder.path).exit_code != 1:
            raise AssertionError("it is judged otherwise than before")
        if count % every == 0:
            samples.append(sample(count))
    return samples


def main() -> None:
    """Prints a line for each sample."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=2000)
    given = parser.parse_args()
    begin = time.monotonic()
    with TemporaryDirectory() as place:
        for each in checked(Path(place), given.number, max(1, given.number // 10)):
            told = f"{each.memory:.1f} MB, {each.files} files, {each.threads} threads"
            print(f"{each.checked}: {told}")
    print(f"{time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
