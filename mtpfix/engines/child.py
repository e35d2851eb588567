"""A child process that has an engine imported once and is asked many times.

The child runs in any environment that has the engine; mtpfix need not be installed there. It is
offline, and what hangs is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from mtpfix.errors import BrokenFileError, MtpfixError, TargetError, UnknownError
from mtpfix.model import Built, Kind, Part

GRACE = 30.0
"""Seconds that the child may take past the limit it was given."""
_SECRETS = ("_TOKEN", "_KEY", "_SECRET", "_PASSWORD")
"""Ends of the names of variables that hold what nobody else may read."""
START = Path(__file__).with_name("_child") / "start.py"
"""What the child runs; it is given the folder of the engine."""
Phase = Literal["config", "target", "draft", "load"]
Self = TypeVar("Self", bound="Child")


@dataclass(frozen=True, slots=True)
class Made:
    """What an engine made of one layer that asked for a quantization method."""

    part: Part
    name: str
    """Construction-time prefix, as passed to `get_quant_method`."""
    cls: str
    """Class name of the layer."""
    kind: Kind
    param: str
    """Path of the layer in the model; empty where construction failed."""
    built: Built
    scheme: str | None
    """Class name of the scheme, or of the method where there is no scheme."""
    method: str | None
    error: str | None
    """`Type: message`, where the decision raised."""


@dataclass(frozen=True, slots=True)
class Unasked:
    """A layer with weights that is built without asking."""

    param: str
    cls: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception that ended a phase."""

    phase: Phase
    type: str
    message: str
    where: str
    """File, line and function inside the engine."""

    def __str__(self) -> str:
        """As Python would print it."""
        return f"{self.type}: {self.message}"


@dataclass(frozen=True, slots=True)
class Program:
    """What is started, and what is said where it cannot be."""

    title: str
    """The name of the engine."""
    folder: str
    """The name of its folder here."""
    remedy: str
    """What to type where there is no such engine."""

    @property
    def fault(self) -> str:
        """What to do about an exception that is not the engine's."""
        return f"mtpfix was not tested with this {self.title}, or it has a bug: please report this"


class Child:
    """An engine that is imported once and asked many times; use it as a context manager.

    Args:
        program: what is started.
        python: interpreter of the environment with the engine; this one by default.
        pythonpath: put in front of the module path of the child.
        variables: what the child finds in its environment besides.
        timeout: seconds, for the import of the engine and for each answer.

    Attributes:
        about: releases of Python, the engine and what it stands on, once it runs.
        patches: what was patched for every model, `name: reason`.
    """

    def __init__(
        self,
        program: Program,
        *,
        python: str | None = None,
        pythonpath: str | None = None,
        variables: Mapping[str, str] | None = None,
        timeout: float = 600,
    ) -> None:
        self.about: Mapping[str, str] = {}
        self.patches: tuple[str, ...] = ()
        self._program = program
        self._python = _absolute(python or sys.executable)
        self._pythonpath = pythonpath
        self._variables = dict(variables or {})
        self._timeout = timeout
        self._process: subprocess.Popen[str] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._count = 0

    def __enter__(self: Self) -> Self:
        """Starts the child and waits until it has imported the engine."""
        self._scratch = tempfile.TemporaryDirectory(prefix="mtpfix-")
        try:
            self._start(Path(self._scratch.name))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the child."""
        self.close()

    def _start(self, scratch: Path) -> None:
        with (scratch / "log").open("w", encoding="utf-8") as log:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - the interpreter the user named
                    [self._python, str(START), self._program.folder],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    cwd=scratch,
                    env={**environment(scratch, self._pythonpath), **self._variables},
                )
            except OSError as error:
                told = f"cannot start {self._python}: {error}"
                raise UnknownError(told, self._program.remedy) from error
        message = self._hear()
        title = self._program.title
        if "failed" in message:
            told = f"{title} cannot be asked: {message['failed']}"
            raise UnknownError(told, self._program.remedy)
        ready = message["ready"]
        self.patches = tuple(ready.pop("patches"))
        self.about = ready

    def request(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the child answers to a request.

        Args:
            asked: the request, without what tells where the answer goes.

        Raises:
            UnknownError: it gave no answer.
        """
        process, scratch = self._running()
        self._count += 1
        answer = scratch / f"{self._count}.json"
        own = {"id": self._count, "answer": str(answer), "timeout": max(1, int(self._timeout))}
        self._say(process, {**asked, **own})
        status = self._hear()["status"]
        title = self._program.title
        if status == -signal.SIGALRM:
            message = f"{title} gave no answer in {self._timeout:.0f} s"
            raise UnknownError(message, "allow more time")
        if status != 0 or not answer.is_file():
            raise self._gone(f"the process that asked {title} died (status {status})")
        raw: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        answer.unlink()
        if "broken" in raw:
            raise UnknownError(f"asking {title} failed: {raw['broken']}", self._program.fault)
        return raw

    def _say(self, process: subprocess.Popen[str], request: Mapping[str, Any]) -> None:
        """Sends a request to the child."""
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        except OSError as error:
            raise self._gone(f"the process that asks {self._program.title} is gone") from error

    def _running(self) -> tuple[subprocess.Popen[str], Path]:
        if self._process is None or self._scratch is None:
            raise MtpfixError("the server does not run", "use it in a `with` block")
        return self._process, Path(self._scratch.name)

    def _hear(self) -> dict[str, Any]:
        """The next message of the child; it is killed when it takes too long."""
        process, _ = self._running()
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        limit = threading.Timer(self._timeout + GRACE, process.kill)
        limit.start()
        try:
            line = process.stdout.readline()
        finally:
            limit.cancel()
        if not line:
            title = self._program.title
            raise self._gone(f"the process that asked {title} ended early, or took too long")
        try:
            message: dict[str, Any] = json.loads(line)
        except ValueError:
            said = f"it answered {line.strip()[:60]!r}"
            raise UnknownError(
                f"{self._python} is not a Python interpreter: {said}", self._program.remedy
            ) from None
        return message

    def _gone(self, message: str) -> UnknownError:
        """The error for a child without an answer, with the last line it printed."""
        _, scratch = self._running()
        lines = (scratch / "log").read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "it printed nothing")
        return UnknownError(f"{message}: {last.strip()[:300]}", self._program.remedy)

    def close(self) -> None:
        """Ends the child and removes its files."""
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            try:
                self._process.wait(timeout=GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None


def _absolute(program: str) -> str:
    """Return a program that is found wherever a child starts; one on the PATH stays a name."""
    return str(Path.cwd() / program) if os.sep in program else program


def check(folder: Path) -> None:
    """Refuses a folder that an engine could not even begin with."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TargetError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BrokenFileError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise BrokenFileError(f"{path} is not a JSON object")


def environment(scratch: Path, pythonpath: str | None) -> dict[str, str]:
    """The environment of the child: offline, its temporary files in `scratch`, nothing secret.

    What is meant for mtpfix stays here: options and tokens by variables, and the switch of the
    plugin, which the child would obey.
    """
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.upper().endswith(_SECRETS)
        and not key.upper().startswith("MTPFIX_")
        and key != "PYTHONHOME"
    }
    env.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TMPDIR=str(scratch))
    if pythonpath:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (pythonpath, env.get("PYTHONPATH"))))
    return env


def parameters(raw: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shapes and dtypes by name."""
    return {name: (tuple(shape), dtype) for name, (shape, dtype) in raw.items()}
