"""Proves what mtpfix says of SGLang by loading: a real SGLang before and after `mtpfix rewrite`.

    python -m tools.prove_sglang --python PY [--path DIR ...] [--family F ...] [--scheme S ...]

Tiny but real checkpoints (`tools.forge`), their MTP block in BF16 or quantized like the rest. The
repair looks for one list for the newest vLLM and the SGLang that is asked. A row fails where
mtpfix calls clean what is not, or the other way round, or where the target model is decided
otherwise than before. Prints a page, and exits 1 if a row fails.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import mtpfix
from mtpfix.engines.sglang import live, policy
from mtpfix.errors import MtpfixError
from tools import sglang_tiny, tiny
from tools.forge import Mtp, forge
from tools.prove_draft_folder import outcome
from tools.tables import table

SCHEMES = ("ct-fp8-channel", "fp8-block", "modelopt-nvfp4", "ct-w4a16", "modelopt-fp8", "awq")
STORED: tuple[Mtp, ...] = ("bf16", "quantized")
LOST = "MTP006"
"""The finding that parameters of the draft are not on disk, those outside modules too."""
COLUMNS = ("family", "scheme", "MTP block", "foreseen", "SGLang", "after: foreseen", "SGLang", "")


class Row(NamedTuple):
    """One checkpoint, before and after."""

    family: str
    scheme: str
    mtp: str
    foreseen: str
    before: str
    foreseen_after: str = ""
    after: str = ""
    fault: str = ""


def prove(server: live.Server, family: str, scheme: str, mtp: Mtp, folder: Path) -> Row:
    """Return the row of one checkpoint, made in an empty folder."""
    release = str(server.about["sglang"])
    variant = sglang_tiny.variant(family, scheme)
    forge(sglang_tiny.like(family), folder, scheme, variant=variant, mtp=mtp)
    sglang_tiny.adapt(folder, family)
    told = sglang_tiny.told(folder)
    answer = server.ask(folder, load=True, tolerant=True, arguments=told)
    row = Row(family, scheme, mtp, foreseen(folder, release), outcome(answer))
    faults = [_fault(row.foreseen, row.before)]
    try:
        made = mtpfix.rewrite(folder, engines=["vllm"], sglang=[release], backup=False, write=True)
    except MtpfixError as error:
        return row._replace(foreseen_after=f"refused: {error.message}"[:90], fault=_said(faults))
    if made.files:
        again = server.ask(folder, load=True, tolerant=True, arguments=told)
        row = row._replace(foreseen_after=foreseen(folder, release), after=outcome(again))
        faults.append(_fault(row.foreseen_after, row.after))
        moved = [each for each in decided_of_target(answer) if each not in decided_of_target(again)]
        faults += [f"the target model is decided otherwise: {moved[0]}"] if moved else []
    return row._replace(fault=_said(faults))


def foreseen(folder: Path, release: str) -> str:
    """Return what is foreseen of the draft alone: the child loads nothing else."""
    report = mtpfix.check(folder, sglang=[release])
    if not report.engines:
        return "unknown"
    draft = [m for m in report.engines[0].modules if m.decision.module.part == "draft"]
    found: set[str] = {m.consequence for m in draft if m.consequence is not None}
    if "load_error" in found:
        return "load_error"
    if found or LOST in {finding.code for finding in report.findings}:
        return "silent_garbage"
    return "unknown" if any(m.agrees is None and m.members for m in draft) else "clean"


def _fault(foreseen: str, real: str) -> str:
    """Return where a prediction missed; what is not known is no word that could be wrong."""
    if foreseen == "unknown" or (foreseen == "clean") == (real == "clean"):
        return ""
    return f"foreseen {foreseen}, SGLang: {real}"


def _said(faults: Sequence[str]) -> str:
    return "; ".join(filter(None, faults))


def decided_of_target(answer: live.Answer) -> list[tuple[str, str, str | None]]:
    """Return what was decided about the target model."""
    return [(made.name, made.built, made.scheme) for made in answer.of("trunk")]


def rows(server: live.Server, args: argparse.Namespace) -> Iterator[Row]:
    """Yield the rows that are asked for, of families that SGLang builds."""
    for family in args.family or sglang_tiny.families():
        if policy.index().recognise(sglang_tiny.config(family)) is None:
            continue
        unfit = tiny.unfit(sglang_tiny.like(family))
        for scheme in args.scheme or SCHEMES:
            for mtp in () if scheme in unfit else STORED:
                with tempfile.TemporaryDirectory() as scratch:
                    row = prove(server, family, scheme, mtp, Path(scratch) / "model")
                print(*row, sep=" | ", file=sys.stderr, flush=True)
                yield row


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", required=True, help="interpreter that has SGLang")
    parser.add_argument("--path", action="append", default=[], help="an unpacked wheel")
    parser.add_argument("--family", action="append", choices=sglang_tiny.families())
    parser.add_argument("--scheme", action="append")
    args = parser.parse_args(arguments)
    with live.Server(python=args.python, path=args.path) as server:
        found = list(rows(server, args))
    print(table(COLUMNS, found))
    counts = Counter(
        before=sum(row.before == "clean" for row in found),
        after=sum((row.after or row.before) == "clean" for row in found),
        faults=sum(bool(row.fault) for row in found),
    )
    print(f"{len(found)} checkpoints: {dict(counts)}")
    return int(bool(counts["faults"]))


if __name__ == "__main__":
    sys.exit(main())
