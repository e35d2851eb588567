"""What an installed engine built, set against disk and prediction."""

from __future__ import annotations

from dataclasses import dataclass

from mtpfix.model import Built, Part, Precision


@dataclass(frozen=True, slots=True)
class Verified:
    """One module: what the real engine built, what is on disk, what we predicted.

    Attributes:
        module: construction-time name.
        part: draft or trunk.
        disk: how it is stored.
        built: what the engine made of it.
        scheme: the class that it picked.
        error: the exception, where it raised.
        predicted: what mtpfix says for the same release; None if it knows no such module.
        agrees: whether its module can take what is on disk; None if nothing is there.
        foreseen: whether the prediction was right; None if mtpfix could not judge.
    """

    module: str
    part: Part
    disk: Precision
    built: Built
    scheme: str | None
    error: str | None
    predicted: str | None
    agrees: bool | None
    foreseen: bool | None


@dataclass(frozen=True, slots=True)
class Verification:
    """The answer of an installed engine.

    Attributes:
        version: its release.
        draft_class: class of the draft it built.
        modules: every module that asked.
        failures: exceptions that ended a phase.
        patches: what had to be patched so that it runs here.
        exit_code: 0 all fits, 1 something differs, 3 it gave no usable answer.
        engine: the engine, as people spell it.
    """

    version: str
    draft_class: str | None
    modules: tuple[Verified, ...]
    failures: tuple[str, ...]
    patches: tuple[str, ...]
    exit_code: int
    engine: str = "vLLM"
