"""Plays the programs that pages name: the real ones where that is cheap, else a check.

Every call is a fork of this process, which has imported what takes seconds to import.

python troupe.py SOCKET
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]

SITE = ("-m", "sphinx", "-q", "-W", "docs", "build/docs")
"""How the site is built; `test_site.py` does."""


def _mtpfix(arguments: Sequence[str]) -> int:
    from mtpfix.cli import main

    return main(arguments)


def _python(arguments: Sequence[str]) -> int:
    """A script for real; a tool that asks a real vLLM, or the site, only reads its arguments."""
    if tuple(arguments) == SITE:
        return 0
    sys.argv = list(arguments)
    if arguments[0] == "-m":
        assert arguments[1].startswith(("tools.", "tests.docs.")), arguments
        sys.argv = sys.argv[1:]
        _stop_after_arguments()
        runpy.run_module(arguments[1], run_name="__main__")
        raise AssertionError(f"{arguments[1]} reads no arguments")
    runpy.run_path(arguments[0], run_name="__main__")
    return 0


def _stop_after_arguments() -> None:
    parse = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *given: object) -> None:
        parse(parser, *given)  # type: ignore[arg-type]
        raise SystemExit(0)

    argparse.ArgumentParser.parse_args = stop  # type: ignore[assignment,method-assign]


def _pytest(arguments: Sequence[str]) -> int:
    """Files that are named exist; what `-k` chooses is not looked for."""
    named = [name for before, name in pairwise(("", *arguments)) if before != "-k"]
    missing = [name for name in named if name[0] != "-" and not (ROOT / name).exists()]
    assert not missing, missing
    return 0


def _vllm(arguments: Sequence[str]) -> int:
    """`vllm serve MODEL`: values that are JSON have to be JSON."""
    assert arguments[0] == "serve", arguments
    for name, value in pairwise(arguments):
        if name in ("--hf-overrides", "--speculative-config"):
            json.loads(value)
    return 0


def _pip(arguments: Sequence[str]) -> int:
    """`pip install`: of this project, with extras that it has, or of what it names."""
    from packaging.requirements import Requirement

    from mtpfix.cli.settings import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert arguments[0] == "install", arguments
    for word in arguments[1:]:
        wanted = Requirement(word.replace(".", project["name"], 1) if word[0] == "." else word)
        if wanted.name == project["name"]:
            assert wanted.extras <= project["optional-dependencies"].keys(), wanted
    return 0


ACTORS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "mtpfix": _mtpfix,
    "python": _python,
    "pytest": _pytest,
    "vllm": _vllm,
    "pip": _pip,
}


# --- calls -----------------------------------------------------------------------


def _serve(path: str) -> None:
    import compressed_tensors.quantization  # noqa: F401 - what a write has to import

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen()
        while True:
            line, _ = door.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _answer(line)
            line.close()


def _answer(line: socket.socket) -> None:
    """Plays one program where its caller stands, and ends."""
    said, files, _, _ = socket.recv_fds(line, 1 << 20, 3)
    while not said.endswith(b"\n"):
        said += line.recv(1 << 20)
    told = json.loads(said)
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["environment"])
    line.sendall(str(_code(told["words"])).encode())
    os._exit(0)


def _code(words: Sequence[str]) -> int:
    try:
        code = ACTORS[words[0]](words[1:])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001 - whatever it is, the caller has to hear of it
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    _serve(sys.argv[1])
