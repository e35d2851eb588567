"""What `tools.prove_two_engines` found, kept in a JSON file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mtpfix.engines.sglang import policy
from tools import sglang_tiny, tiny
from tools.proof_record import Record

SCHEMES = {
    "ct-fp8-channel": "compressed-tensors, FP8",
    "fp8-block": "fp8, in blocks",
    "modelopt-nvfp4": "ModelOpt, NVFP4",
    "ct-w4a16": "compressed-tensors, INT4",
    "modelopt-fp8": "ModelOpt, FP8",
    "awq": "AWQ",
}
"""Schemes of the target model, and how they are called on the page."""
UNFIT = {
    "step3p5": "SGLang's transformers refuse the configuration",
}
"""Families whose forged checkpoints SGLang cannot load, quantized or not, and why."""
NO_DRAFT = "no draft"
"""What vLLM makes of a family that it has no draft for."""


class Asked(NamedTuple):
    """A checkpoint: its MTP block is in BF16, and no entry says so."""

    family: str
    scheme: str


class Seen(NamedTuple):
    """What the two engines made of a checkpoint, in a few words each."""

    sglang: str
    vllm: str


@dataclass(frozen=True)
class Proof:
    """One checkpoint, before and after.

    Attributes:
        release: of SGLang.
        vllm: the release of vLLM.
        asked: the checkpoint.
        before: what came of it as it was.
        added: the entries that `rewrite` wrote for both engines.
        refused: why it wrote nothing; empty where it wrote, or had nothing to do.
        after: what came of it then; None: nothing was written.
        folder: what SGLang made of it with a folder from `override`, where the list was not enough;
            None: none was needed.
        unhelped: what mtpfix says where SGLang is not served in the end; empty: it is.
        faults: every way in which the proof fails; empty when it holds.
    """

    release: str
    vllm: str
    asked: Asked
    before: Seen
    added: tuple[str, ...] = ()
    refused: str = ""
    after: Seen | None = None
    folder: str | None = None
    unhelped: str = ""
    faults: tuple[str, ...] = ()

    @property
    def way(self) -> str:
        """What serves SGLang in the end: `as it is`, `one list`, `draft folder` or `nothing`."""
        if self.folder == "clean":
            return "draft folder"
        if (self.after or self.before).sglang != "clean":
            return "nothing"
        return "one list" if self.after is not None else "as it is"


def asked_of(scheme: str) -> list[Asked]:
    """Return the checkpoints of a scheme: one of each family that SGLang drafts."""
    return [
        Asked(family, scheme)
        for family in sglang_tiny.families()
        if sglang_tiny.like(family) == family  # of others nothing can be forged
        and family not in UNFIT
        and policy.index().recognise(sglang_tiny.config(family)) is not None
        and scheme not in tiny.unfit(sglang_tiny.like(family))
    ]


def _parse(row: dict[str, Any]) -> Proof:
    seen = {key: None if row[key] is None else Seen(*row[key]) for key in ("before", "after")}
    lists = {key: tuple(row[key]) for key in ("added", "faults")}
    return Proof(**{**row, **lists, **seen, "asked": Asked(*row["asked"])})


_PARTS: dict[str, Callable[[], Sequence[Asked]]] = {
    scheme: partial(asked_of, scheme) for scheme in SCHEMES
}
RECORD = Record(Path(__file__).with_name("two_engines_proofs.json"), _PARTS, _parse)
