"""Asks the matchers of SGLang releases themselves, and records their answers.

    python -m tools.sglang_differential [RELEASE ...] [--sources DIR] [--out DIR]

Nothing of SGLang is imported (see `sglang_lifting`). Questions and answers are packed; releases
that answer a kind of question alike stand together.
"""

from __future__ import annotations

import argparse
import json
import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.sglang_grammar import SEED, Grammar, Question
from tools.sglang_lifting import Release

OUT = Path(__file__).parents[1] / "tests" / "differential" / "sglang"
SOURCES = Path.home() / ".cache" / "mtpfix" / "sglang" / "src"
FILE = "answers.json.xz"
WITH_TEXTS = ("ct_ignore", "ct_target", "fp8", "quark", "quark_layer", "auto_round")
"""Kinds whose exceptions are compared word for word, where they are ValueErrors."""
TEXTS = 25
"""Exceptions that are kept of each kind."""
Answers = Mapping[str, Sequence[str]]


def ask(release: Release, questions: Mapping[str, Sequence[Question]]) -> dict[str, list[str]]:
    """Return what a release answers, by kind of question; and the texts of exceptions."""
    found = {kind: [release.ask(kind, q) for q in asked] for kind, asked in questions.items()}
    for kind in WITH_TEXTS:
        raised = [n for n, answer in enumerate(found[kind]) if answer == "ValueError"][:TEXTS]
        texts = {str(n): release.text(kind, questions[kind][n]) for n in raised}
        found[f"{kind}:texts"] = [json.dumps(texts)]
    return found


def read(folder: Path = OUT) -> dict[str, Any]:
    """Return the recorded questions and answers."""
    data: dict[str, Any] = json.loads(lzma.decompress((folder / FILE).read_bytes()))
    return data


def answers(data: Mapping[str, Any], release: str) -> Answers:
    """Return the answers of one release, by kind."""
    rows = data["answers"].items()
    return {
        kind: next(row["answers"] for row in groups if release in row["releases"])
        for kind, groups in rows
    }


def write(found: Mapping[str, Answers], questions: Mapping[str, Any], folder: Path) -> int:
    """Write the questions, and the answers by release; return how many bytes that takes."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for release, by_kind in found.items():
        for kind, said in by_kind.items():
            rows = grouped.setdefault(kind, [])
            row = next((row for row in rows if row["answers"] == said), None)
            if row is None:
                rows.append({"releases": [release], "answers": list(said)})
            else:
                row["releases"].append(release)
    data = {"engine": "sglang", "seed": SEED, "questions": questions, "answers": grouped}
    packed = lzma.compress(json.dumps(data, separators=(",", ":")).encode(), preset=9)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(packed)
    return len(packed)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("release", nargs="*", help="default: every one that is unpacked")
    parser.add_argument("--sources", type=Path, default=SOURCES, help="a folder a release")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    releases = options.release or sorted(path.name for path in options.sources.iterdir())
    questions = Grammar().questions()
    found = {}
    for release in releases:
        found[release] = ask(Release(options.sources / release), questions)
        print(f"{release}: {sum(map(len, questions.values()))} answers", flush=True)
    print(f"{write(found, questions, options.out)} bytes")


if __name__ == "__main__":
    main()
