"""Has every system call that a graft makes on its folders fail, and be the last, in turn.

    python -m tests.faults.graft_calls [--folder DIR] [--way write|output] [--shards 1] [--every 1]
                                      [--faults EIO,KILL]

As `tests.faults.calls`, of which it takes the faults; the graft runs in a child of this process,
which `strace` attaches to. Where the exit code is 0 the block is there, else the folder is as it
was, or holds what the next run goes on with; that run must put everything right.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import mtpfix
from mtpfix.grafts import donor, layout, transfer
from mtpfix.grafts.leftovers import LOCK as GRAFT_LOCK
from mtpfix.repair.writing.disk import TEMPORARY
from mtpfix.repair.writing.locking import LOCK
from tests.faults.calls import Call, call_of, faults, is_reading, remove, tried
from tests.faults.graft_once import Inline, graft
from tests.faults.grafted import CHOSEN, MANIFEST, SHARD, Grafted
from tests.faults.kills import ended
from tests.faults.subject import BACKUP, CONFIG, BrokenPromiseError
from tests.unit.grafts.pairs import INDEX


class GraftWay:
    """Where a graft goes, and what the folders must look like after.

    Args:
        place: an empty folder.
        output: whether a new folder is made, or the old one written to.
        shards: files of the checkpoints; one has no index.
    """

    def __init__(self, place: Path, *, output: bool, shards: int = 1) -> None:
        self.subject = Grafted(place, shards)
        self.output = place / "out" if output else None
        folder, room = self.subject.folder, place if output else self.subject.folder
        plan = mtpfix.graft(folder, self.subject.base, **CHOSEN).plan
        part = transfer.part_of(room, plan.shard, plan.layout, plan.donor.target)
        names = (CONFIG, INDEX, MANIFEST)
        kinds = ("new", "old", "bak", "interim")
        made = [SHARD, *(f".{name}.{kind}{TEMPORARY}" for name in names for kind in kinds)]
        made += [*names, f"{CONFIG}{BACKUP}", f"{INDEX}{BACKUP}"]
        tops = [folder]
        if self.output is not None:
            tops += [self.output, place / f".{self.output.name}{TEMPORARY}"]
        beside = [room / LOCK, room / GRAFT_LOCK, part, transfer.journal_of(part)]
        paths = [
            room,
            *beside,
            *tops,
            *(top / name for top in tops for name in (*self.subject.old, *made)),
        ]
        paths += [self.subject.base / name for name in (CONFIG, "model.safetensors")]
        self.paths = list(dict.fromkeys(paths))

    def run(self) -> int:
        """Make the graft in this process; return the exit code."""
        words = [str(self.subject.folder), str(self.subject.base)]
        return graft(*words, *([] if self.output is None else [str(self.output)]))

    def restore(self) -> None:
        """Make all folders what they were in the beginning."""
        self.subject.restore()
        if self.output is not None:
            for path in [*self.output.parent.iterdir()]:
                if path.name not in ("target", "base", "said"):
                    remove(path)

    def check(self, code: int) -> None:
        """Whether the files are as the exit code says.

        Raises:
            BrokenPromiseError: they are not.
        """
        state = self.subject.state().rstrip("+")
        if self.output is not None:
            if state != "old":
                raise BrokenPromiseError("the source was touched")
            if self.output.is_dir() and any(self.output.iterdir()):
                self.subject.check_done(self.output)
                state = "new"
        wanted = {0: ("new",), -9: ("old", "between", "new")}.get(code, ("old",))
        if state not in wanted:
            raise BrokenPromiseError(f"exit code {code}, and the files are {state}")

    def check_done(self) -> None:
        """Whether all is new, and nothing else is there."""
        self.subject.check_done(self.output)
        if self.output is None:
            return
        if self.subject.state() != "old":
            raise BrokenPromiseError("the source was touched")
        beside = {path.name for path in self.output.parent.iterdir()}
        if beside != {"target", "base", "out", "said"}:
            raise BrokenPromiseError(f"there is {sorted(beside)}")


def traced(way: GraftWay, *options: str, log: Path) -> tuple[int, str]:
    """Run a graft below strace; return its exit code and what it says on stderr."""
    read, write = os.pipe()
    said = log.with_suffix(".err")
    child = os.fork()
    if not child:
        os.read(read, 1)
        _end(way, said)
    watched = [word for path in way.paths for word in ("-P", str(path))]
    command = ["strace", "-f", "-o", str(log), *watched, *options, "-p", str(child)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        strace.stderr.readline()  # it is attached
        os.write(write, b"x")
        code = ended(child)
        strace.communicate()
    os.close(read)
    os.close(write)
    return code, said.read_text()


@contextmanager
def _in_order() -> Iterator[None]:
    """Fetch in this thread, in a few ranges: strace counts the calls of each thread apart."""
    kept = transfer.ThreadPoolExecutor, layout.UNIT
    transfer.ThreadPoolExecutor, layout.UNIT = Inline, 1 << 19  # type: ignore[misc,assignment]
    donor.ThreadPoolExecutor = Inline  # type: ignore[misc,assignment]
    try:
        yield
    finally:
        transfer.ThreadPoolExecutor, layout.UNIT = kept  # type: ignore[misc]
        donor.ThreadPoolExecutor = kept[0]  # type: ignore[misc]


def calls(way: GraftWay, log: Path) -> list[Call]:
    """Return the calls of a run without faults."""
    code, said = traced(way, log=log)
    if code != 0:
        raise BrokenPromiseError(f"a run without faults fails: {said}")
    way.check_done()
    way.restore()
    seen = Counter[str]()
    return [call for line in log.read_text().splitlines() if (call := call_of(line, seen))]


def plant(way: GraftWay, call: Call, fault: str, log: Path) -> int:
    """Make one run with one fault; return its exit code.

    Raises:
        BrokenPromiseError: something was not as it must be.
    """
    inject = f"--inject={call.name}:{fault}:when={call.at}"
    code, said = traced(way, "-e", f"trace={call.name}", inject, log=log)
    if "(INJECTED)" not in log.read_text() and "KILL" not in log.read_text():
        raise BrokenPromiseError("the fault was not planted: the run took another way")
    way.check(code)
    lines = [line for line in said.splitlines() if line.startswith(("error: ", "hint: "))]
    if code > 0 and [line.partition(":")[0] for line in lines] != ["error", "hint"]:
        raise BrokenPromiseError(f"exit code {code}, and it says {said!r}")
    code_again, said = undisturbed(way, log)
    if code_again != 0 and not (way.output is not None and code in (0, -9)):
        raise BrokenPromiseError(f"the next run fails: {said}")
    way.check_done()
    way.restore()
    return code


def undisturbed(way: GraftWay, log: Path) -> tuple[int, str]:
    """Run a graft that nobody disturbs; return its exit code and what it says on stderr."""
    child = os.fork()
    if not child:
        _end(way, log)
    return ended(child), log.read_text()


def _end(way: GraftWay, said: Path) -> NoReturn:
    """Make the graft in this child, and end it."""
    code = 70
    try:
        with said.open("w") as err, Path(os.devnull).open("w") as null:
            os.dup2(err.fileno(), 2)
            os.dup2(null.fileno(), 1)
        with _in_order():
            code = way.run()
        sys.stderr.flush()
    finally:
        os._exit(code)


def main() -> int:
    """Run everything and print the figures; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="on the file system to be tried")
    parser.add_argument("--way", choices=("write", "output"), default="write")
    parser.add_argument("--shards", type=int, default=1, help="files of the checkpoints")
    parser.add_argument("--every", type=int, default=1, help="try every Nth reading call only")
    parser.add_argument("--faults", default="", help="some of EIO,ENOSPC,EACCES,EROFS,KILL")
    given = parser.parse_args()
    with TemporaryDirectory(dir=given.folder) as place, TemporaryDirectory() as beside:
        where, log = Path(place).resolve(), Path(beside, "log")
        way = GraftWay(where, output=given.way == "output", shards=given.shards)
        found = calls(way, log)
        reading = [call for call in found if is_reading(call)][:: given.every]
        chosen = [*(call for call in found if not is_reading(call)), *reading]
        planted = [
            (call, fault)
            for call in chosen
            for fault in faults(call)
            if fault.partition("=")[2] in (given.faults or fault)
        ]
        print(f"{len(found)} calls")
        return tried(planted, lambda *which: plant(way, *which, log), way.restore)


if __name__ == "__main__":
    sys.exit(main())
