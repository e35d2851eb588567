"""What is grafted while faults are planted: a tiny pair, and how its folder may look after."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import torch

import mtpfix
from mtpfix.grafts.leftovers import LOCK as GRAFT_LOCK
from mtpfix.grafts.transfer import PART
from mtpfix.repair.writing.disk import TEMPORARY
from mtpfix.repair.writing.locking import LOCK
from tests.faults.graft_once import graft
from tests.faults.restorable import Restorable
from tests.faults.subject import BACKUP, CONFIG, BrokenPromiseError
from tests.unit.grafts.pairs import INDEX, content, loaded, pair

torch.set_num_threads(1)  # a forked child has none of its parent's threads, and would wait for them
SHARD, MANIFEST = "model-mtp.safetensors", "model-mtp.manifest.json"
CHOSEN: dict[str, Any] = {"vllm": ["0.32.0"], "platforms": ["cuda"]}


class Grafted(Restorable):
    """A checkpoint that gets its block back over and over.

    Args:
        place: a folder in which `base` and `target` are made.
        shards: files of each; one has no index.
    """

    def __init__(self, place: Path, shards: int = 1) -> None:
        made = pair(place, shards=shards)
        self.folder, self.base, self._said = made.target, made.base, place / "said"
        self.old = content(self.folder)
        self.old_tensors = loaded(self.folder)
        self._before = seen(self.folder)
        if self.run() != 0:
            raise BrokenPromiseError("the graft does not work even without faults")
        self.new = content(self.folder)
        self.new_tensors = loaded(self.folder)
        self.check_done()
        self.restore()

    def run(self, output: Path | None = None) -> int:
        """Bring the block back in this process, by the command line; return the exit code."""
        words = [str(self.folder), str(self.base), *([str(output)] if output else [])]
        said = io.StringIO()
        with redirect_stdout(io.StringIO()), redirect_stderr(said):
            code = graft(*words)
        with suppress(OSError):  # where no file may grow
            self._said.write_text(said.getvalue(), encoding="utf-8")
        return code

    def state(self) -> str:
        """What a reader finds: `old` or `new`, `+` where traces are left.

        `between` is the new config.json, and nothing of the block yet: every release must make
        the same of that as of the old one.

        Raises:
            BrokenPromiseError: it is none of these.
        """
        held = content(self.folder)
        try:
            tensors = loaded(self.folder)
        except (AssertionError, OSError, ValueError) as error:
            raise BrokenPromiseError(f"cannot be loaded: {error!r}") from error
        config = held.get(CONFIG)
        if config not in (self.old[CONFIG], self.new[CONFIG]):
            raise BrokenPromiseError("config.json is neither old nor new")
        weights = {name: data for name, data in self.old.items() if name.endswith("tensors")}
        if any(held.get(name) != data for name, data in weights.items()):
            raise BrokenPromiseError("the old weights were touched")
        if config != self.old[CONFIG] and held.get(CONFIG + BACKUP) != self.old[CONFIG]:
            raise BrokenPromiseError("config.json is new, and there is no backup of the old one")
        self._check_names(held)
        traces = "+" if set(held) not in (set(self.old), set(self.new)) else ""
        if tensors == self.new_tensors:
            if config != self.new[CONFIG]:
                raise BrokenPromiseError("the block is there, and config.json is old")
            return f"new{traces}"
        if tensors != self.old_tensors:
            raise BrokenPromiseError("the tensors are neither the old nor the new ones")
        if config == self.old[CONFIG]:
            return f"old{traces}"
        if seen(self.folder) != self._before:
            raise BrokenPromiseError("the new config.json alone is judged otherwise")
        return f"between{traces}"

    def _check_names(self, held: dict[str, bytes]) -> None:
        known = {*self.old, *self.new, INDEX, LOCK, GRAFT_LOCK}
        strange = [
            name
            for name in held
            if name not in known and not name.endswith(TEMPORARY) and PART not in name
            if name.partition(BACKUP)[0] not in (CONFIG, INDEX)
        ]
        if strange:
            raise BrokenPromiseError(f"strange files: {sorted(strange)}")

    def check_done(self, folder: Path | None = None) -> None:
        """The block is there, the old files are beside it, and nothing else is.

        Raises:
            BrokenPromiseError: it is not so.
        """
        held = content(folder or self.folder)
        if loaded(folder or self.folder) != self.new_tensors:
            raise BrokenPromiseError("the tensors are not the new ones")
        for name in (CONFIG, MANIFEST, SHARD):
            if held.get(name) != self.new[name]:
                raise BrokenPromiseError(f"{name} is not the new one")
        if json.loads(held[INDEX]) != json.loads(self.new[INDEX]):
            raise BrokenPromiseError("the index says something else")
        # A run that was killed leaves an index of the old files; the next one keeps a backup.
        backups = set() if folder else {f"{CONFIG}{BACKUP}", f"{INDEX}{BACKUP}"}
        wanted = {*self.old, SHARD, MANIFEST, INDEX}
        if not wanted <= set(held) <= wanted | backups:
            raise BrokenPromiseError(f"after a run without faults there is {sorted(held)}")
        if not folder and held[CONFIG + BACKUP] != self.old[CONFIG]:
            raise BrokenPromiseError("the backup is not the old config.json")


def seen(folder: Path) -> tuple[object, ...]:
    """What the release makes of a folder: the target model, module by module, and the draft."""
    (engine,) = mtpfix.inspect(folder, **CHOSEN, trunk=True).engines
    trunk = {
        m.decision.module.name: (m.decision.built, m.decision.scheme)
        for m in engine.modules
        if m.decision.module.part == "trunk"
    }
    assert trunk
    return engine.outcome, trunk
