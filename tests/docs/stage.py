"""Runs the blocks of a page in a folder of its own, with a Hub on the loopback interface.

What a page shows as output is compared with what comes out. The programs that it calls
are played by `troupe.py`.
"""

from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml

from mtpfix.cli.settings import tomllib
from tests.docs.troupe import ACTORS
from tests.hub.server import GOOD_TOKEN, Hub, Repo, serving, sparse
from tools import page_samples
from tools.docs.blocks import Block, blocks, commands

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "deepseek-v4-like"
PUBLIC = "https://huggingface.co"
WIDTH = 88


class Shown(NamedTuple):
    """What a page shows, from a line on, and what came out."""

    block: Block
    first: int
    shown: tuple[str, ...]
    came: tuple[str, ...]


def pages() -> list[Path]:
    """Every page that has blocks."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    return sorted(page for page in found if "```" in page.read_text(encoding="utf-8"))


class Came(NamedTuple):
    """What a script printed, errors among it, and its exit code."""

    lines: tuple[str, ...]
    code: int


@dataclass(frozen=True, slots=True)
class Stage:
    """A folder in which commands run as a reader would run them, at a terminal."""

    folder: Path
    url: str
    environment: Mapping[str, str]

    def run(self, script: str, before: int = 0) -> Came:
        """What comes of a script whose `$?` begins as the exit code of the one before it."""
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            ["/bin/bash", "-c", f"(exit {before})\n{script}"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        ) as running:
            os.close(theirs)
            said = b"".join(_read(ours)).decode().replace(self.url, PUBLIC)
        os.close(ours)
        # What was taken back by a carriage return is not there any more.
        lines = said.replace("\r\n", "\n").removesuffix("\n").split("\n") if said else []
        shown = [line.rpartition("\r")[2].removeprefix("\033[K").rstrip() for line in lines]
        if shown and not shown[-1] and "\r" in lines[-1]:
            shown.pop()
        return Came(tuple(shown), running.returncode)

    def must(self, script: str) -> None:
        """Runs a script in which nothing may fail.

        Raises:
            AssertionError: something did.
        """
        came = self.run(f"set -e\n{script}")
        assert came.code == 0, "\n".join([script, *came.lines])


def _read(terminal: int) -> Iterator[bytes]:
    """What is written to a terminal until its other side is closed."""
    while True:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # how Linux tells that nobody holds the other side any more
            return
        if not piece:
            return
        yield piece


@dataclass(frozen=True, slots=True)
class Theatre:
    """What all pages share: a Hub, and the programs that they call."""

    hub: Hub
    environment: Mapping[str, str]
    home: Path

    def stage(self, folder: Path) -> Stage:
        """A folder with the sample, as `model` too, and a Hub that has it."""
        shutil.copytree(SAMPLE, folder / "examples" / SAMPLE.name)
        shutil.copy(ROOT / "examples" / "run", folder / "examples" / "run")
        shutil.copytree(SAMPLE, folder / "model")
        for name in page_samples.NAMES:
            shutil.copytree(self.home / name, folder / name)
        # `examples/run` and `tests/run` look for programs of the tree that they lie in.
        (folder / ".venv" / "bin").mkdir(parents=True)
        (folder / ".venv" / "bin" / "mtpfix").write_text('exec mtpfix "$@"\n')
        (folder / ".venv" / "bin" / "mtpfix").chmod(0o755)
        (folder / "docs").mkdir()
        (folder / "tests").mkdir()
        (folder / "tests" / "run").write_text(f"bash -n '{ROOT / 'tests' / 'run'}'\n")
        self.hub.repos.clear()
        repo = self.hub.repos["your-org/DeepSeek-V4-NVFP4"] = Repo()
        repo.commit({path.name: sparse(path.read_bytes()) for path in SAMPLE.iterdir()})
        for name in ("base", "lost"):
            repo = self.hub.repos[f"your-org/{name}"] = Repo()
            repo.commit({p.name: sparse(p.read_bytes()) for p in (self.home / name).iterdir()})
        return Stage(folder, self.hub.url, self.environment)


@contextmanager
def theatre(home: Path) -> Iterator[Theatre]:
    """The Hub and the programs, as long as pages are played."""
    with serving() as hub:
        environment = _environment(home, hub)
        page_samples.make(home)
        door = home / "door"
        troupe = [sys.executable, str(ROOT / "tests" / "docs" / "troupe.py"), str(door)]
        with subprocess.Popen(troupe, env=environment, cwd=home) as playing:
            try:
                while not door.exists():
                    assert playing.poll() is None
                    time.sleep(0.05)
                yield Theatre(hub, environment, home)
            finally:
                playing.terminate()


def _environment(home: Path, hub: Hub) -> dict[str, str]:
    programs = home / "bin"
    programs.mkdir()
    caller = ROOT / "tests" / "docs" / "caller.py"
    for name in ACTORS:
        program = programs / name
        call = shlex.join([sys.executable, "-IS", str(caller), str(home / "door"), name])
        program.write_text(f'#!/bin/sh\nexec {call} "$@"\n')
        program.chmod(0o755)
    return {
        "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.defpath]),
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        "TERM": "xterm",
        "NO_COLOR": "1",
        "COLUMNS": str(WIDTH),
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home / "hub"),
        "HF_TOKEN": GOOD_TOKEN,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",  # the Hub of this stage does not speak it
    }


# --- blocks ------------------------------------------------------------------------


def played(page: str, stage: Stage) -> Iterator[Shown]:
    """Runs a page block by block; yields what it shows beside what came out."""
    for block in blocks(page):
        if block.caption:
            file = stage.folder / block.caption
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        yield from _KINDS[block.kind](block, stage)


_Kind = Callable[[Block, Stage], Iterable[Shown]]


def _console(block: Block, stage: Stage) -> Iterator[Shown]:
    code = 0
    for command in commands(block):
        assert not command.script.startswith(("cd ", "export ")), "each command has its own shell"
        came = stage.run(command.script, code)
        code = came.code
        yield Shown(block, command.first, command.shown, came.lines)


def _shell(block: Block, stage: Stage) -> tuple[Shown, ...]:
    if not block.caption:
        stage.must(block.text)
    return ()


def _python(block: Block, stage: Stage) -> tuple[Shown, ...]:
    if not block.caption:
        (stage.folder / "block.py").write_text(block.text, encoding="utf-8")
        stage.must("python block.py > block.out")
    return ()


def _output(block: Block, stage: Stage) -> tuple[Shown, ...]:
    """What the Python block above it prints."""
    return (Shown(block, block.first, block.lines, stage.run("cat block.out").lines),)


def _parsed(read: Callable[[str], object]) -> _Kind:
    """Blocks that are read, not run."""

    def check(block: Block, _stage: Stage) -> tuple[Shown, ...]:
        read(block.text)
        return ()

    return check


_KINDS: Mapping[str, _Kind] = {
    "console": _console,
    "shell": _shell,
    "python": _python,
    "output": _output,
    "json": _parsed(json.loads),
    "yaml": _parsed(yaml.safe_load),
    "toml": _parsed(tomllib.loads),
    "text": _parsed(str),
    "{toctree}": _parsed(str),
    "{eval-rst}": _parsed(str),
    "{include}": _parsed(str),
    "{literalinclude}": _parsed(str),
    "{image}": _parsed(str),
}
"""Language -> what is done with such a block; a page may have no others."""
