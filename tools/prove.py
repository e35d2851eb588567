"""Proves repairs by loading: a real vLLM before, `mtpfix rewrite`, the same vLLM after.

    python -m tools.prove --python VLLM_PYTHON [--family F ...] [--scheme S ...] [--output FILE]

For each tiny checkpoint (trunk quantized, MTP block as asked) the installed vLLM loads the
draft as the checkpoint is, mtpfix predicts what comes of it and repairs `config.json`, and
vLLM loads it again. A proof holds when the prediction was right, and when afterwards nothing
is uninitialised or cast with loss, every MTP tensor lies bit-equal in the draft, and no
decision about the trunk has changed. Prints a Markdown table; exits 1 if a proof fails.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mtpfix
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.live import Answer, Server
from mtpfix.model import EngineReport
from tools import disk, tiny
from tools.forge import Mtp, forge

SCHEMES = ("ct-fp8-channel", "ct-w4a16", "ct-nvfp4+fp8-block")
SHOWN = 3
"""Entries that the table shows."""


@dataclass(frozen=True)
class Proof:
    """One checkpoint, before and after.

    Attributes:
        before, after: what vLLM did, in a few words.
        predicted: what mtpfix said that it would do before.
        added: the entries that were written.
        limited: mtpfix says that no metadata can make this release load it.
        faults: every way in which the proof fails; empty when it holds.
    """

    family: str
    scheme: str
    mtp: str
    before: str
    predicted: str
    added: tuple[str, ...]
    after: str
    limited: bool
    faults: tuple[str, ...]


def prove(
    server: Server,
    family: str,
    scheme: str,
    folder: Path,
    mtp: Mtp = "bf16",
    *,
    listed: bool = True,
) -> Proof:
    """Makes one checkpoint in `folder` and proves its repair.

    Args:
        server: a running vLLM.
        family: a tiny model (`tools.tiny`).
        scheme: quantization of the trunk.
        mtp: how the MTP block is stored.
        folder: an empty folder; changed by the repair.
        listed: whether the metadata has a list of what it leaves unquantized.
    """
    ignore = ("lm_head",) if listed else None
    variant = tiny.variant(family, scheme)
    forged = forge(family, folder, scheme, variant=variant, mtp=mtp, ignore=ignore)
    release = server.about["vllm"].split("+")[0]
    # The CUDA classes are what the engine is made to build, on a CPU.
    report = mtpfix.inspect(folder, vllm=[release]).engines[0]
    before = server.ask(folder, load=True)
    repair = mtpfix.rewrite(
        folder, vllm=[release], platforms=["cuda"], backup=False, allow_partial=True, write=True
    )
    after = server.ask(folder, load=True)
    limits = [m.limit for m in repair.after.engines[0].modules if m.limit is not None]
    limited = any(limit.phase != "forward" for limit in limits)
    faults = [
        *prediction_faults(report, before),
        *([] if limited else loading_faults(after, family, forged.mtp)),
        *trunk_faults(before, after),
    ]
    if limited:
        faults += prediction_faults(repair.after.engines[0], after)
    elif repair.after.engines[0].outcome != "clean" and not limits:
        faults.append("mtpfix does not call the repaired checkpoint clean")
    return Proof(
        family=family,
        scheme=scheme,
        mtp=mtp,
        before=outcome(before),
        predicted=predicted(report),
        added=repair.plan.added,
        after=outcome(after),
        limited=limited,
        faults=tuple(faults),
    )


def drafted(family: str, release: str) -> bool:
    """Whether a release has a draft for the family at all."""
    named = policy.recognise(tiny.config(family, tiny.BASE))
    return named is not None and policy.has_draft(policy.policy(named), release, "cuda")


def outcome(answer: Answer) -> str:
    """What vLLM did, in one line."""
    if answer.failures:
        return f"load_error: {_short(str(answer.failures[0]))}"
    load = answer.load
    if load is None:
        return "not loaded"
    if load.failure is not None:
        return f"load_error: {_short(str(load.failure))}"
    if load.verdict == "silent_garbage":
        cut = f", {len(load.cut)} tensors cut" if load.cut else ""
        return f"silent_garbage: {len(load.uninitialised)} parameters uninitialised{cut}"
    return f"{load.verdict}: {load.equal} tensors bit-equal"


def predicted(report: EngineReport) -> str:
    """What mtpfix says, in one line."""
    return report.outcome + (f": {_short(report.error)}" if report.error else "")


def _short(text: str) -> str:
    return text.splitlines()[0][:150]


def prediction_faults(report: EngineReport, answer: Answer) -> list[str]:
    """Where the prediction missed: the outcome, the exception's type, or its message."""
    failure = answer.failures[0] if answer.failures else answer.load and answer.load.failure
    real = "load_error" if failure else answer.load.verdict if answer.load else "none"
    if real != report.outcome:
        return [f"predicted {report.outcome}, vLLM: {outcome(answer)}"]
    if failure and not _begins(str(failure), report.error or ""):
        return [f"predicted {report.error}, vLLM raised {_short(str(failure))}"]
    return []


def _begins(text: str, start: str) -> bool:
    """Whether `text` begins with `start`, where `…` stands for any words."""
    pattern = ".*?".join(re.escape(part) for part in start.split("…"))
    return re.match(pattern, text, re.DOTALL) is not None


def loading_faults(answer: Answer, family: str, tensors: Sequence[str]) -> list[str]:
    """Why a draft is not loaded clean, bit by bit.

    Args:
        answer: of a vLLM that loaded it.
        family: its family.
        tensors: those of the MTP block on disk.
    """
    load = answer.load
    if answer.failures or load is None or load.verdict != "clean":
        return [f"not clean: {outcome(answer)}"]
    faults = []
    if load.uninitialised or load.partial:
        faults.append(f"uninitialised: {[*load.uninitialised, *load.partial]}")
    if load.lossy:
        faults.append(f"cast with loss: {load.lossy}")
    kept = {name for name in tensors if not name.endswith(disk.rescaled(family))}
    unequal = sorted(set(load.unequal) & kept)
    if unequal:
        faults.append(f"not bit-equal to the disk: {unequal}")
    return faults


def trunk_faults(before: Answer, after: Answer) -> list[str]:
    """Trunk decisions that the repair changed."""
    old, new = before.of("trunk"), after.of("trunk")
    return [] if old == new else ["the repair changed decisions about the trunk"]


def table(proofs: Sequence[Proof]) -> str:
    """The proofs as a Markdown table."""
    lines = [
        "| family | scheme | MTP block | vLLM before | predicted | entries written | vLLM after |",
        "|---|---|---|---|---|---|---|",
    ]
    for p in proofs:
        entries = named(p.added)
        cells = (p.family, p.scheme, p.mtp, p.before, p.predicted, entries, p.after)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def named(entries: Sequence[str]) -> str:
    """Entries for one cell: exact names are many, so that the first stand for the others."""
    more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return " ".join(f"`{entry}`" for entry in entries[:SHOWN]) + more or "none"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", required=True, help="interpreter of an environment with vLLM")
    parser.add_argument("--pythonpath", help="folder of an unpacked wheel of another release")
    parser.add_argument("--family", action="append", choices=tiny.families())
    parser.add_argument("--scheme", action="append")
    parser.add_argument("--mtp", default="bf16", choices=("bf16", "quantized", "mixed"))
    parser.add_argument("--no-list", action="store_true", help="forge without a list")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    proofs: list[Proof] = []
    running = Server(python=args.python, pythonpath=args.pythonpath)
    with running as server, tempfile.TemporaryDirectory() as scratch:
        for scheme in args.scheme or SCHEMES:
            for family in args.family or tiny.families():
                folder = Path(scratch, f"{scheme}-{family}")
                if not drafted(family, server.about["vllm"].split("+")[0]):
                    continue
                if scheme in tiny.unfit(family):
                    print(
                        f"{family} {scheme}: left out, {tiny.unfit(family)[scheme]}",
                        file=sys.stderr,
                    )
                    continue
                listed = not args.no_list
                proof = prove(server, family, scheme, folder, args.mtp, listed=listed)
                proofs.append(proof)
                print(f"{family} {scheme}: {proof.before} -> {proof.after}", file=sys.stderr)
                for fault in proof.faults:
                    print(f"  FAULT {fault}", file=sys.stderr)
    text = table(proofs)
    if args.output is not None:
        args.output.write_text(text, encoding="utf-8")
    else:
        print(text)
    return 1 if any(proof.faults for proof in proofs) else 0


if __name__ == "__main__":
    sys.exit(main())
