"""The table of `docs/howto/quantizers.md`, made of what `tools.prove_recipes` saw."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tools.recipe_record import Proof
from tools.tables import table

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "quantizers.md"
FIRST = "<!-- runs: made by `python -m tools.prove_recipes --page` -->\n"
LAST = "<!-- end of runs -->\n"
HEADS = ("tool", "run", "model", "block saved", "entries saved", "before", "then", "after")


def page(text: str, proofs: Iterable[Proof]) -> str:
    """Return the page with the table of these proofs.

    Args:
        text: the page as it is.
        proofs: what was seen.
    """
    made = f"{FIRST}\n{table(HEADS, map(_cells, proofs))}\n{LAST}"
    return re.sub(f"{re.escape(FIRST)}.*{re.escape(LAST)}", lambda _: made, text, flags=re.DOTALL)


def _cells(proof: Proof) -> tuple[str, ...]:
    there, all_of_it = proof.kept
    asked = proof.asked
    pasted = f" ({asked.form})" if asked.form else " (by hand)"
    return (
        f"{asked.tool} {proof.version}",
        asked.script + pasted,
        asked.family,
        proof.failed or ("lost" if not there else f"{there} of {all_of_it}"),
        ", ".join(f"`{entry}`" for entry in proof.entries) or "none",
        ", ".join(proof.before) or "clean",
        f"`{proof.step}`" if proof.step else "",
        "" if not proof.step else ", ".join(proof.after) or "clean",
    )
