"""What `tools.prove_schemes` found, kept in `scheme_proofs.json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.blocks import PARTS, Asked
from tools.proof_record import Record


@dataclass(frozen=True)
class Proof:
    """One checkpoint, before and after.

    Attributes:
        release: of vLLM.
        asked: the checkpoint.
        before: what vLLM did with it.
        by_hand: what vLLM did with the metadata that `tools.block_metadata` states.
        by_hand_trunk: these leave the decisions about the target model as they were.
        edits: what mtpfix wrote, in a few words each.
        after: what vLLM did then; empty where nothing was written.
        trunk: the decisions about the target model are as before.
        refused: why nothing was written, or what is left; empty where mtpfix calls it clean.
        faults: every way in which the proof fails; empty when it holds.
    """

    release: str
    asked: Asked
    before: str
    by_hand: str = ""
    by_hand_trunk: bool = True
    edits: tuple[str, ...] = ()
    after: str = ""
    trunk: bool = True
    refused: str = ""
    faults: tuple[str, ...] = ()


def _proof(row: dict[str, Any]) -> Proof:
    lists = {key: tuple(row[key]) for key in ("edits", "faults")}
    return Proof(**{**row, **lists, "asked": Asked(**row["asked"])})


RECORD = Record(Path(__file__).with_name("scheme_proofs.json"), PARTS, _proof)
