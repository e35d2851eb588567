"""Proves draft folders on a real SGLang: made by `override --output`, built and loaded.

    python -m tools.prove_draft_folder OUT --python PY [--path DIR ...] [--case FAMILY:SCHEME ...]

Forges a tiny checkpoint a case, asks SGLang about it with and without the folder, and prints a
table: what a load of the draft comes to before and after, and whether the target is decided as
before. Exits 1 where a folder does not help.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mtpfix import draft_folder
from mtpfix.engines.sglang import live
from mtpfix.errors import UnknownError
from mtpfix.model import Part
from tools import sglang_tiny
from tools.forge import forge

CASES = (
    *(
        f"{name}:fp8-block"
        for name in ("mimo", "qwen3_next", "exaone_moe", "qwen3_5", "qwen3_5_moe")
    ),
    *(
        f"{name}:ct-fp8-channel"
        for name in (
            "glm4_moe",
            "qwen3_next",
            "exaone_moe",
            "deepseek_v3",
            "qwen3_5",
            "qwen3_5_moe",
        )
    ),
    *(f"{name}:fp8-block" for name in ("glm4_moe", "deepseek_v3")),
)
SAME = "the same"
EXACT = "float8_e8m0fnu->float32"
"""A cast that loses nothing: of exponents."""
REPLACED = re.compile(
    r"(^|\.)(embed_tokens|word_embeddings|lm_head|shared_head\.head)\.|_swizzled$"
)
"""Parameters whose place the target model's own take, or that are made of others after a load."""


class Row(NamedTuple):
    """What a load of the draft comes to."""

    case: str
    folder: str
    before: str
    after: str
    target: str

    @property
    def good(self) -> bool:
        """Whether it is clean, and the target is as before."""
        return self.after == "clean" and self.target.startswith(SAME)


def prove(server: live.Server, release: str, folder: Path, name: str) -> Row:
    """Return the row of one checkpoint."""
    output = folder.with_name(f"{folder.name}-draft")
    shutil.rmtree(output, ignore_errors=True)
    made = draft_folder(folder, sglang=[release], output=output)
    told = sglang_tiny.told(folder)
    before = server.ask(folder, load=True, tolerant=True, arguments=told)
    if made.output is None:
        held = "none: " + ("it would not help" if made.needed else "already right")
        return Row(name, held, outcome(before), outcome(before), SAME)
    after = server.ask(folder, load=True, tolerant=True, draft=output, arguments=told)
    entries = made.choice.entries if made.choice is not None and not made.choice.bare else None
    held = "no metadata" if entries is None else f"a list of {len(entries)}"
    old, new = (_decided(answer, "trunk") for answer in (before, after))
    target = f"{SAME} {len(new)} decisions" if old == new != () else "moved"
    return Row(name, held, outcome(before), outcome(after), target)


def outcome(answer: live.Answer) -> str:
    """Return what a load of the draft comes to, in a few words."""
    failures = [each for each in answer.failures if each.phase != "target"]
    loaded = answer.load.get("draft")
    if failures or loaded is None:
        return f"{failures[0].phase}: {failures[0].type}" if failures else "not loaded"
    raised = next((made.error for made in answer.of("draft") if made.error), None)
    if raised is not None:  # which a tolerant answer goes past
        return f"draft: {raised.partition(':')[0]}"
    if loaded.failure is not None:
        return loaded.failure.type
    unfilled = [each for each in loaded.uninitialised if not REPLACED.search(each)]
    unfilled += loaded.partial
    casts = [each for each in loaded.casts if "float8" in each or ": int8->" in each]
    casts = [each for each in casts if not each.endswith(EXACT)]
    if unfilled or casts:
        return f"garbage: {len(unfilled)} uninitialised, {len(casts)} cast"
    return "clean"


def _decided(answer: live.Answer, part: Part) -> tuple[tuple[str, str, str | None], ...]:
    return tuple((made.name, made.built, made.scheme) for made in answer.of(part))


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Yield the rows of all cases."""
    with live.Server(python=args.python, path=args.path) as server:
        release = server.about["sglang"]
        for case in args.case or CASES:
            family, _, scheme = case.partition(":")
            folder = args.out / case.replace(":", "--")
            if not folder.exists():
                forge(family, folder, scheme=scheme, mtp=args.mtp, shards=3)
            try:
                yield prove(server, release, folder, f"{family} {scheme}")
            except UnknownError as error:
                yield Row(f"{family} {scheme}", error.message, "", "", "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--python", required=True, help="interpreter that has SGLang")
    parser.add_argument("--path", action="append", default=[], help="an unpacked wheel")
    parser.add_argument("--case", action="append", help="FAMILY:SCHEME; repeatable")
    parser.add_argument("--mtp", default="bf16", help="how the MTP block is stored")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    print("| case | draft folder | before | with it | target |\n|---|---|---|---|---|")
    good = True
    for row in rows(args):
        print(f"| {' | '.join(row)} |", flush=True)
        good &= row.good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
