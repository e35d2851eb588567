"""Counts what is recorded and what is proved, for each quantization method.

    python -m tools.evidence

Writes `mtpfix/data/vllm/evidence.json` from the recordings of `tests/conformance` and the
table of `docs/proof.md`; a test holds it to them.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from mtpfix.engines.vllm import metadata, policy
from mtpfix.model import JsonFile
from tools import schemes, tiny
from tools.recording import files, read

Table = dict[str, dict[str, list[str]]]
"""By method, then by family or recipe."""

ROOT = Path(__file__).parents[1]
FILE = ROOT / "mtpfix" / "data" / "vllm" / "evidence.json"
ABOUT = (
    "What is known by running vLLM, by quantization method (the empty name: without metadata); "
    "made by `python -m tools.evidence`. "
    "recorded: the releases whose decisions are recorded, by family; decisions: how many; proved: "
    "the families whose repaired checkpoints vLLM has loaded, by the name of the recipe."
)


def recorded() -> tuple[Table, dict[str, int]]:
    """Releases in which vLLM built or refused a draft, by method and family; and all decisions."""
    found: Table = {}
    decisions: Counter[str] = Counter()
    for path in files(ROOT / "tests" / "conformance"):
        methods: dict[tuple[str, str], str] = {}
        for case in read(path):
            asked = (case.scheme, case.ignore_name)  # entries may name another algorithm
            if asked not in methods:
                methods[asked] = method_of(case.config)
            method = methods[asked]
            decisions[method] += len(case.outcomes)
            family = policy.recognise(case.config) or ""
            releases = found.setdefault(method, {}).setdefault(family, [])
            if (case.draft_class or case.refused) and case.release not in releases:
                releases.append(case.release)
    return found, decisions


def method_of(config: dict[str, Any]) -> str:
    """Return the quantization method that a configuration is read as; empty without metadata."""
    place = metadata.find({"config.json": JsonFile("config.json", b"", config)})
    return "" if place is None else metadata.read(place).method


def proved() -> Table:
    """The families of every recipe that the page of proofs has loaded clean, by method."""
    found: Table = {}
    page = (ROOT / "docs" / "proof.md").read_text(encoding="utf-8")
    for family, scheme, after in re.findall(
        r"^\| (\w+) \| (\S+) \|.*\| ([^|]*) \|$", page, re.MULTILINE
    ):
        if scheme in schemes.named() and after.startswith("clean"):
            config = {**tiny.config(family), "quantization_config": schemes.quantization(scheme)}
            method, known = method_of(config), policy.recognise(config) or family
            families = found.setdefault(method, {}).setdefault(scheme, [])
            if known not in families:
                families.append(known)
    return found


def document() -> str:
    """The text of the file, a family or a recipe a line."""
    families, decisions = recorded()
    tables = {"recorded": families, "proved": proved()}
    blocks = ['  "$schema": "schema/evidence.schema.json"', f'  "about": {json.dumps(ABOUT)}']
    blocks.append(f'  "decisions": {json.dumps(dict(sorted(decisions.items())))}')
    blocks += [f'  "{name}": {{\n{_methods(table)}\n  }}' for name, table in tables.items()]
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def _methods(table: Table) -> str:
    return ",\n".join(
        f'    "{method}": {{\n{_rows(table[method])}\n    }}' for method in sorted(table)
    )


def _rows(rows: dict[str, list[str]]) -> str:
    return ",\n".join(f'      "{key}": {json.dumps(rows[key])}' for key in sorted(rows))


def main() -> None:
    """Entry point."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    FILE.write_text(document(), encoding="utf-8")


if __name__ == "__main__":
    main()
