"""What `tools.prove_graft` found, kept in `graft_proofs.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.graft_cases import PARTS, Asked
from tools.proof_record import Record


@dataclass(frozen=True)
class Proof:
    """One pair, before and after.

    Attributes:
        release: of vLLM.
        asked: the pair, and the precision that was asked for.
        before: what vLLM did with the target.
        helper: what vLLM did after compressed-tensors' helper; empty where that was not run.
        brought: tensors that were brought, by what was done to them.
        repeated: tensors that were left out: the target has the same bytes elsewhere.
        added: entries that were written.
        after: what vLLM did then.
        refused: why nothing was written; empty where it was.
        limited: mtpfix says that no metadata can make this release load it.
        foreseen: mtpfix foresaw what vLLM did before, down to the exception.
        faults: every way in which the proof fails; empty when it holds.
    """

    release: str
    asked: Asked
    before: str
    helper: str = ""
    brought: Mapping[str, int] = field(default_factory=dict)
    repeated: int = 0
    added: tuple[str, ...] = ()
    after: str = ""
    refused: str = ""
    limited: bool = False
    foreseen: bool = True
    faults: tuple[str, ...] = ()


def _proof(row: dict[str, Any]) -> Proof:
    lists = {key: tuple(row[key]) for key in ("added", "faults")}
    return Proof(**{**row, **lists, "asked": Asked(**row["asked"])})


RECORD = Record(Path(__file__).with_name("graft_proofs.json"), PARTS, _proof)
