"""What is rewritten while faults are planted: a tiny checkpoint, and how it must look after."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from mtpfix.cli import main
from mtpfix.delivery import guard
from mtpfix.repair.writing.disk import TEMPORARY
from mtpfix.repair.writing.in_place import write
from mtpfix.repair.writing.locking import LOCK
from tests.unit.cli.conftest import Folder

CONFIG, SECOND = "config.json", "hf_quant_config.json"
BACKUP = ".bak-mtpfix"
JUDGED = ("--vllm", "0.32.0", "--platform", "cuda")


class BrokenPromiseError(AssertionError):
    """A promise that was not kept."""


def rewrite(folder: str, output: str | None = None) -> int:
    """Repairs a folder by the command line, in place or as a new one; returns the exit code."""
    way = ["--write"] if output is None else ["--output", output]
    with unproved():
        return main(["rewrite", folder, *way, *JUDGED])


@contextmanager
def unproved() -> Iterator[None]:
    """Leaves out whether compressed-tensors reads a result: that takes seconds, and has tests."""
    proof, guard.prove = guard.prove, lambda *_: ()
    try:
        yield
    finally:
        guard.prove = proof


class Subject:
    """A checkpoint that is repaired over and over.

    Args:
        folder: where it is made; must not exist.
        files: 1: the command line repairs `config.json`; 2: the writer alone, with two files.
    """

    def __init__(self, folder: Path, files: int = 1) -> None:
        made = Folder(folder)
        self.folder = folder
        if files == 2:
            (folder / SECOND).write_bytes(b"{}\n")
        self.old = made.bytes()
        self.names = [CONFIG, SECOND][:files]
        self.new = dict(self.old)
        if self.rewrite() != 0:
            raise BrokenPromiseError("the rewrite does not work even without faults")
        self.new = {name: (folder / name).read_bytes() for name in self.old}
        self.check_done()
        self.restore()

    def restore(self) -> None:
        """The folder as it was in the beginning."""
        for path in self.folder.iterdir():
            path.unlink()
        for name, data in self.old.items():
            (self.folder / name).write_bytes(data)

    def rewrite(self) -> int:
        """Repairs it in this process; returns the exit code."""
        if len(self.names) == 1:
            with Path(os.devnull).open("w") as null, redirect_stdout(null), redirect_stderr(null):
                return rewrite(str(self.folder))
        pairs = {}
        for name in self.names:
            data = (self.folder / name).read_bytes()
            pairs[name] = (data, data if b"repaired" in data else data + b"repaired")
        write(self.folder, pairs)
        return 0

    def seen(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def state(self) -> str:
        """What there is: `old`, `new` or `between`, `+` where traces are left.

        Raises:
            BrokenPromiseError: a file is neither the old nor the new one, or the old is lost.
        """
        seen = self.seen()
        for name in self.old:
            whole = {self.old[name], self.new[name]} if name in self.names else {self.old[name]}
            if seen.get(name) not in whole:
                raise BrokenPromiseError(f"{name} is neither old nor new")
            if name in self.names and seen[name] == self.new[name]:
                copies = [data for other, data in seen.items() if other.startswith(name + BACKUP)]
                if copies != [self.old[name]]:
                    raise BrokenPromiseError(f"{name} is new, and its backup is not the old one")
        traces = [name for name in seen if name == LOCK or name.endswith(TEMPORARY)]
        backups = [name for name in seen if BACKUP in name]
        if set(seen) - {*self.old, *traces, *backups}:
            raise BrokenPromiseError(f"strange files: {sorted(set(seen) - set(self.old))}")
        done = {seen[name] == self.new[name] for name in self.names}
        return ("between" if len(done) == 2 else "new" if True in done else "old") + (
            "+" if traces else ""
        )

    def check_done(self) -> None:
        """Everything is new, the old bytes are beside it, and nothing else is there.

        Raises:
            BrokenPromiseError: it is not so.
        """
        wanted = {name: self.old[name] for name in self.old if name not in self.names}
        for name in self.names:
            wanted |= {name: self.new[name], name + BACKUP: self.old[name]}
        if self.new == self.old or self.seen() != wanted:
            raise BrokenPromiseError(f"after a run without faults there is {sorted(self.seen())}")
