"""What `tools.prove_recipes` saw real quantizers do, kept in `recipe_proofs.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("recipe_proofs.json")


class Asked(NamedTuple):
    """One run of a quantizer.

    Attributes:
        tool: its name, as `names --for` has it.
        script: what runs it, `pasting/TOOL.SCRIPT.txt`.
        form: the form of the answer that is pasted; empty: nothing is.
        family: the tiny model.
    """

    tool: str
    script: str
    form: str
    family: str


ASKED = (
    Asked("llm-compressor", "oneshot", "python", "glm4_moe"),
    Asked("llm-compressor", "oneshot", "python", "qwen3_5"),
    Asked("llm-compressor", "recipe", "yaml", "glm4_moe"),
    Asked("llm-compressor", "recipe", "json", "glm4_moe"),
    Asked("llm-compressor", "free", "python", "glm4_moe"),
    Asked("llm-compressor", "free", "python", "mimo"),
    Asked("compressed-tensors", "apply", "python", "qwen3_5"),
    Asked("compressed-tensors", "json", "json", "qwen3_5"),
    Asked("modelopt", "quantize", "python", "glm4_moe"),
    Asked("modelopt", "quantize", "python", "qwen3_next"),
    Asked("modelopt", "recipe", "yaml", "glm4_moe"),
    Asked("auto-round", "free", "python", "glm4_moe"),
    Asked("auto-round", "free", "python", "mimo"),
    Asked("auto-round", "tuned", "python", "glm4_moe"),
    Asked("auto-round", "json", "json", "mimo"),
    Asked("auto-round", "cli", "cli", "glm4_moe"),
    Asked("auto-round", "ignore_layers", "", "glm4_moe"),
    Asked("auto-round", "escaped", "", "glm4_moe"),
    Asked("gptqmodel", "quantize", "python", "deepseek_v3"),
    Asked("gptqmodel", "json", "json", "deepseek_v3"),
    Asked("quark", "template", "python", "glm4_moe"),
    Asked("quark", "wrapper", "python", "qwen3_5"),
    Asked("autoawq", "quantize", "python", "deepseek_v3"),
    Asked("autoawq", "json", "json", "deepseek_v3"),
)


@dataclass(frozen=True)
class Proof:
    """What came of one run.

    Attributes:
        asked: the run.
        version: of the tool.
        command: what gave the answer.
        pasted: the answer, a line each, without its comments.
        failed: the last line of what the tool raised; empty where it saved a checkpoint.
        kept: tensors of the MTP block that it saved, and how many there were.
        entries: what the saved metadata list for the block, the first few.
        before: codes of the errors of `mtpfix check`.
        step: what brought it in order: `graft` or `rewrite`; empty where nothing had to.
        after: codes of the errors afterwards.
    """

    asked: Asked
    version: str
    command: str = ""
    pasted: tuple[str, ...] = ()
    failed: str = ""
    kept: tuple[int, int] = (0, 0)
    entries: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    step: str = ""
    after: tuple[str, ...] = ()


def kept() -> list[Proof]:
    """Return the proofs that are kept, in the order of what is asked."""
    if not FILE.exists():
        return []
    rows = json.loads(FILE.read_text(encoding="utf-8"))
    found = []
    for row in rows:
        lists = {key: tuple(value) for key, value in row.items() if isinstance(value, list)}
        found.append(Proof(**{**row, **lists, "asked": Asked(*row["asked"])}))
    return found


def keep(new: list[Proof]) -> None:
    """Keep proofs, in the place of older ones of the same run."""
    known = {proof.asked: proof for proof in (*kept(), *new)}
    rows = [json.dumps(asdict(known[asked])) for asked in ASKED if asked in known]
    FILE.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")
