"""What gets other names while faults are planted: a tiny checkpoint, and how it may look after."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file, save_file

from mtpfix.checkpoint.header import JOURNAL
from mtpfix.cli import main
from mtpfix.repair.writing.disk import TEMPORARY
from mtpfix.repair.writing.locking import LOCK
from tests.faults.restorable import Restorable
from tests.faults.subject import BACKUP, CONFIG, JUDGED, BrokenPromiseError, unproved
from tests.unit.grafts.pairs import content
from tests.unit.test_renaming import ALONE, INDEX, made

torch.set_num_threads(1)  # a forked child has none of its parent's threads, and would wait for them
SECOND = "model-00004-of-00004.safetensors"
"""The other half of the block: two files must change."""
PLAIN = "model.layers.2.self_attn.o_proj"
"""A module that is stored unquantized, so that the metadata must change, too."""
Way = Literal["--rename-tensors", "--rename-in-place"]


class Renamed(Restorable):
    """A checkpoint whose tensors get other names over and over.

    Args:
        folder: where it is made; must not exist.
        way: how they get them.
    """

    def __init__(self, folder: Path, way: Way) -> None:
        self.folder, self._way, self._said = folder, way, folder.with_name("said")
        shutil.copytree(made("ct-fp8-block", 3, "weight_scale_inv"), folder)
        _split(folder)
        self.old = content(folder)
        if self.run() != 0:
            raise BrokenPromiseError(f"it does not work even without faults: {self.said()}")
        self.new = {name: (folder / name).read_bytes() for name in self.old}
        self.changed = {name for name in self.old if self.old[name] != self.new[name]}
        if self.changed != {ALONE, SECOND, INDEX, CONFIG}:
            raise BrokenPromiseError(f"only {self.changed} changed")
        self.check_done()
        self.restore()

    def run(self) -> int:
        """Give tensors other names by the command line; return the exit code."""
        said = io.StringIO()
        with unproved(), redirect_stdout(io.StringIO()), redirect_stderr(said):
            code = main(["rewrite", str(self.folder), "--write", self._way, *JUDGED])
        self._said.write_text(said.getvalue(), encoding="utf-8")
        return code

    def state(self) -> str:
        """What there is: `old`, `new`, `between` or `torn`, and `+` where traces are left.

        Raises:
            BrokenPromiseError: a file is neither the old nor the new one, or cannot be restored.
        """
        held = content(self.folder)
        torn = False
        for name, old in self.old.items():
            if held.get(name) in (old, self.new[name]):
                continue
            torn = True
            if f".{name}{JOURNAL}" not in held:
                raise BrokenPromiseError(f"{name} is neither old nor new, and there is no journal")
            data = len(old) - 8 - int.from_bytes(old[:8], "little")
            if held[name][:8] != old[:8] or held[name][-data:] != old[-data:]:
                raise BrokenPromiseError(f"more than the header of {name} was touched")
        self._check_order(held)
        new = {name for name in self.changed if held[name] == self.new[name]}
        state = "torn" if torn else "new" if new == self.changed else "between" if new else "old"
        return state + ("+" if set(held) - {*self.old, *_backups(held)} else "")

    def _check_order(self, held: dict[str, bytes]) -> None:
        """The metadata wait for the weights, and the index for the metadata."""
        done = [held[name] == self.new[name] for name in (ALONE, SECOND, CONFIG, INDEX)]
        if done != sorted(done, reverse=True):
            raise BrokenPromiseError("files changed in another order")
        for name in (CONFIG, INDEX):
            if held[name] == self.new[name] and held.get(name + BACKUP) != self.old[name]:
                raise BrokenPromiseError(f"{name} is new, and there is no backup of the old one")
        strange = set(held) - {*self.old, *_backups(held), LOCK}
        strange = {n for n in strange if not n.endswith((TEMPORARY, JOURNAL))}
        if strange:
            raise BrokenPromiseError(f"strange files: {sorted(strange)}")

    def check_done(self) -> None:
        """Everything is new, the old is beside it, and nothing else is there.

        Raises:
            BrokenPromiseError: it is not so.
        """
        held = content(self.folder)
        # An index that a killed run left behind is corrected: the order of its names is another.
        if json.loads(held[INDEX]) != json.loads(self.new[INDEX]):
            raise BrokenPromiseError("the index says something else")
        if any(held.get(name) != self.new[name] for name in self.old if name != INDEX):
            raise BrokenPromiseError("not everything is new")
        if set(held) - {*self.old, *_backups(held)}:
            raise BrokenPromiseError(f"after a run without faults there is {sorted(held)}")
        for name in (CONFIG, INDEX):
            if held[name + BACKUP] != self.old[name]:
                raise BrokenPromiseError(f"the backup is not the old {name}")


def _backups(held: dict[str, bytes]) -> set[str]:
    return {name for name in held if BACKUP in name}


def _split(folder: Path) -> None:
    """Put a half of the block into another file, and one module into BF16."""
    tensors = load_file(folder / ALONE)
    del tensors[f"{PLAIN}.weight_scale_inv"]
    tensors[f"{PLAIN}.weight"] = tensors[f"{PLAIN}.weight"].to(torch.bfloat16)
    names = sorted(tensors)
    half = {name: tensors.pop(name) for name in names if ".experts." in name}
    save_file(tensors, folder / ALONE)
    save_file(half, folder / SECOND)
    index = json.loads((folder / INDEX).read_text())
    del index["weight_map"][f"{PLAIN}.weight_scale_inv"]
    index["weight_map"] |= dict.fromkeys(half, SECOND)
    whole = [t for file in folder.glob("*.safetensors") for t in load_file(file).values()]
    index["metadata"]["total_size"] = sum(tensor.nbytes for tensor in whole)
    (folder / INDEX).write_text(json.dumps(index, indent=2))
