"""What `tools.prove_graft` found, kept in `graft_proofs.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tools.graft_cases import PARTS, Asked

DATA = Path(__file__).with_name("graft_proofs.json")


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


def kept() -> dict[str, list[Proof]]:
    """Return the proofs that are kept, by part, in the order of their pairs."""
    if not DATA.exists():
        return {}
    rows: dict[str, list[Any]] = json.loads(DATA.read_text(encoding="utf-8"))
    return {part: [_proof(row) for row in rows[part]] for part in PARTS if rows.get(part)}


def _proof(row: dict[str, Any]) -> Proof:
    lists = {key: tuple(row[key]) for key in ("added", "faults")}
    return Proof(**{**row, **lists, "asked": Asked(**row["asked"])})


def keep(new: Mapping[str, Sequence[Proof]]) -> None:
    """Keep proofs, in the place of older ones of the same pairs."""
    found = kept()
    parts = []
    for part, asked in PARTS.items():
        rows = {proof.asked: proof for proof in (*found.get(part, ()), *new.get(part, ()))}
        lines = [json.dumps(asdict(rows[each])) for each in asked() if each in rows]
        if lines:
            parts.append(f"{json.dumps(part)}: [\n" + ",\n".join(lines) + "\n]")
    DATA.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
