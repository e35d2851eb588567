"""What `tools.prove_schemes` and `tools.search_schemes` found, kept in a JSON file each."""

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


@dataclass(frozen=True)
class Search:
    """What was found for a checkpoint that `tools.search_schemes` tried metadata for.

    Attributes:
        release: of vLLM.
        asked: the checkpoint.
        tried: how many metadata vLLM was asked to load.
        clean: those that loaded clean, in words.
        outcomes: what came of the others, the most frequent first.
    """

    release: str
    asked: Asked
    tried: int
    clean: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()


def _search(row: dict[str, Any]) -> Search:
    lists = {key: tuple(row[key]) for key in ("clean", "outcomes")}
    return Search(**{**row, **lists, "asked": Asked(**row["asked"])})


SEARCHES = Record(Path(__file__).with_name("scheme_searches.json"), PARTS, _search)
