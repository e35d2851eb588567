"""Asks a real SGLang itself what it builds, in a child process, on a CPU.

The child runs in any environment whose module path has SGLang; mtpfix need not be
installed there. It never touches the network, and without `load` it needs no weights.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtpfix.engines import child
from mtpfix.engines.child import Failure, Made, Unasked
from mtpfix.model import Part

CAPABILITY = "9.0"
"""The compute capability that is shown unless told otherwise: that of a Hopper."""
PARTS: tuple[Part, ...] = ("trunk", "draft")
REMEDY = (
    "python -m venv sglang && sglang/bin/pip install sglang, then name sglang/bin/python "
    "as the interpreter"
)
PROGRAM = child.Program("SGLang", "sglang", REMEDY)
SHAPES = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Quantization:
    """How one part is quantized: target and draft read their metadata apart."""

    method: str | None
    """What SGLang found in the metadata, as it calls it."""
    cls: str | None
    """Class of the configuration object; None: layers have none to ask."""
    packed: Mapping[str, tuple[str, ...]]
    """Packed-modules mapping in force."""
    ignore: tuple[str, ...] | None
    """The ignore list after the mapper."""
    targets: tuple[str, ...]
    """The targets after the mapper."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of loading a part for real."""

    failure: Failure | None
    postprocess: Failure | None
    """What was raised because a CPU has no kernel for it: no fault of the checkpoint."""
    uninitialised: SHAPES
    """Parameters that no tensor reached and that have no default, with their shapes."""
    optional: SHAPES
    """Those that no tensor reached and that may stay as they are."""
    partial: SHAPES
    """Parameters that were reached in part."""
    casts: tuple[str, ...]
    """Copies into a parameter of another dtype: `parameter: from->to`."""
    unused: tuple[str, ...]
    """Tensors on disk that the loader read and dropped."""
    read: int
    """Tensors that were read."""
    warnings: tuple[str, ...]
    """What SGLang logged meanwhile, `LEVEL message`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one SGLang says about one checkpoint folder."""

    version: str
    capability: str
    patches: tuple[str, ...]
    """`name: reason` of every patch that was needed."""
    target_class: str | None
    draft_class: str | None
    draft_architectures: tuple[str, ...]
    decisions: tuple[Made, ...]
    unasked: Mapping[Part, tuple[Unasked, ...]]
    quantization: Mapping[Part, Quantization]
    failures: tuple[Failure, ...]
    parameters: Mapping[Part, Mapping[str, tuple[tuple[int, ...], str]]]
    """Shape and dtype of every parameter of target and draft."""
    load: Mapping[Part, Loaded]
    """The parts that were loaded."""

    def of(self, part: Part) -> tuple[Made, ...]:
        """The decisions of one part."""
        return tuple(made for made in self.decisions if made.part == part)


class Server(child.Child):
    """A SGLang that is imported once and asked many times; use it as a context manager.

    Args:
        python: interpreter of the environment with SGLang; this one by default.
        path: folders in front of the module path of the child, as of an unpacked wheel.
        capability: the compute capability of the device that SGLang is shown.
        variables: what the child finds in its environment besides.
        timeout: seconds, for the import of SGLang and for each answer.
    """

    def __init__(
        self,
        *,
        python: str | None = None,
        path: Sequence[str | Path] = (),
        capability: str = CAPABILITY,
        variables: Mapping[str, str] | None = None,
        timeout: float = 600,
    ) -> None:
        super().__init__(
            PROGRAM,
            python=python,
            pythonpath=os.pathsep.join(map(str, path)) or None,
            variables={**(variables or {}), "MTPFIX_CAPABILITY": capability},
            timeout=timeout,
        )

    def ask(
        self,
        folder: Path,
        *,
        load: bool = False,
        load_target: bool = False,
        tolerant: bool = False,
        draft: Path | None = None,
        arguments: Mapping[str, Any] | None = None,
        past_failures: bool = False,
    ) -> Answer:
        """Asks about one folder.

        Args:
            folder: a folder with `config.json`; its weights are needed where they are loaded.
            load: load the draft for real.
            load_target: load the target for real.
            tolerant: go on after a decision that raises, and hear the others too.
            draft: what `--speculative-draft-model-path` is given; None: nothing.
            arguments: further arguments of the server, by the names of `ServerArgs`.
            past_failures: go past exceptions that tiny models are known to raise; never for a
                verdict.

        Raises:
            TargetError: the folder has no readable `config.json`.
            UnknownError: there is no SGLang to ask, or it gave no answer.
        """
        child.check(folder)
        beside = {} if draft is None else {"speculative_draft_model_path": str(draft.resolve())}
        wanted = [part for part, on in zip(PARTS, (load_target, load), strict=True) if on]
        request = {
            "folder": str(folder.resolve()),
            "load": wanted,
            "tolerant": tolerant,
            "arguments": {**beside, **(arguments or {})},
            "past_failures": past_failures,
        }
        return parse(self.request(request))


def ask(
    folder: Path,
    *,
    python: str | None = None,
    path: Sequence[str | Path] = (),
    timeout: float = 600,
    **options: Any,
) -> Answer:
    """Asks a SGLang once; see `Server` and `Server.ask`."""
    with Server(python=python, path=path, timeout=timeout) as server:
        return server.ask(folder, **options)


# --- from JSON to records ------------------------------------------------------


def parse(raw: Mapping[str, Any]) -> Answer:
    """The record of an answer that the child wrote."""
    return Answer(
        version=raw["sglang"],
        capability=raw["capability"],
        patches=tuple(raw["patches"]),
        target_class=raw.get("target_class"),
        draft_class=raw.get("draft_class"),
        draft_architectures=tuple(raw.get("draft_architectures", ())),
        decisions=tuple(Made(**row) for row in raw["decisions"]),
        unasked={
            part: tuple(Unasked(**row) for row in raw["unasked"].get(part, ())) for part in PARTS
        },
        quantization={
            part: parse_quantization(raw["quantization"][part])
            for part in _present(raw["quantization"])
        },
        failures=tuple(Failure(**row) for row in raw["failures"]),
        parameters={part: child.parameters(raw["parameters"].get(part, {})) for part in PARTS},
        load={part: parse_load(raw["load"][part]) for part in _present(raw["load"])},
    )


def _present(rows: Collection[str]) -> list[Part]:
    """The parts that are there."""
    return [part for part in PARTS if part in rows]


def parse_quantization(raw: Mapping[str, Any]) -> Quantization:
    """The record of the quantization of a part."""
    ignore = raw.get("ignore")
    return Quantization(
        method=raw["method"],
        cls=raw.get("class"),
        packed={key: tuple(value) for key, value in raw.get("packed", {}).items()},
        ignore=None if ignore is None else tuple(ignore),
        targets=tuple(raw.get("targets", ())),
    )


def parse_load(raw: Mapping[str, Any]) -> Loaded:
    """The record of a load."""

    def shapes(key: str) -> SHAPES:
        return {name: tuple(shape) for name, shape in raw[key].items()}

    def failure(key: str) -> Failure | None:
        return None if raw[key] is None else Failure(phase="load", **raw[key])

    return Loaded(
        failure=failure("failure"),
        postprocess=failure("postprocess"),
        uninitialised=shapes("uninitialised"),
        optional=shapes("optional"),
        partial=shapes("partial"),
        casts=tuple(raw["casts"]),
        unused=tuple(raw["unused"]),
        read=raw["read"],
        warnings=tuple(raw["warnings"]),
    )
