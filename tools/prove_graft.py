"""Proves `mtpfix graft` by loading: a real vLLM before, the graft, the same vLLM after.

    python -m tools.prove_graft --python VLLM_PYTHON [PART ...] [--family F ...] [--scheme S ...]
    python -m tools.prove_graft --page

Each target is a tiny checkpoint that was quantized and lost its MTP block (`tools.pairs`). A proof
holds when mtpfix foresaw what vLLM makes of it, and when afterwards nothing is uninitialised or
cast with loss, each tensor of the block is bit-equal to the base's (or, from FP8, made BF16 in FP32
and rounded once), no other tensor and no decision about the trunk has changed, and a second graft
changes nothing. Beside it stands what compressed-tensors' own helper comes to on the same pair.
What came of it is kept in `graft_proofs.json`, from which `docs/graft-proof.md` is made; exits 1 if
a proof fails.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import mtpfix
from mtpfix.delivery import Delivered
from mtpfix.engines.vllm.live import Answer, Server
from mtpfix.errors import RefusedError
from mtpfix.grafts.attempts import Precision
from mtpfix.grafts.block import Block
from mtpfix.grafts.lineage import Verdict
from tools import graft_cases, graft_helper, grafted, pairs, tiny
from tools.environments import HOME, Home
from tools.forge import COPIES, forge
from tools.graft_cases import NEWER, Asked
from tools.graft_page import PAGE, page
from tools.graft_record import RECORD, Proof
from tools.pairs import Kind, Pair
from tools.prove import drafted, loading_faults, outcome, prediction_faults, trunk_faults

LINEAGE: dict[Kind, Verdict] = {"norms": "norms differ", "other-weights": "other weights"}
"""What the base of a kind is to the target, where it is not "same weights"."""
SHARED = ".shared_head.head.weight"
"""How the names of heads of MTP layers end."""


def prove(server: Server, asked: Asked, folder: Path, *, helper: bool = False) -> Proof:
    """Make one pair in `folder`, graft it, and return the proof.

    Args:
        server: a running vLLM.
        asked: the pair.
        folder: an empty folder.
        helper: whether compressed-tensors' helper is asked to do the same.
    """
    pair = asked.made(folder)
    before = server.ask(pair.target, load=True)
    due = before if pair.declared == pair.target else server.ask(pair.declared)
    release = server.about["vllm"].split("+")[0]
    begun = Proof(release, asked, outcome(before))
    if helper:
        answer = graft_helper.answer(server, pair, folder / "helper")
        begun = replace(begun, helper=outcome(answer))
    files, rest = grafted.contents(pair.target), pairs.tensors(pair.target)
    try:
        made = _graft(pair, release, asked.precision)
    except RefusedError as error:
        faults = [] if grafted.contents(pair.target) == files else ["refused, and files changed"]
        if _is_good_whole(server, asked, folder / "whole"):
            faults.append("refused, but vLLM loads it where nothing was lost")
        return replace(begun, refused=error.message, faults=tuple(faults))
    after = server.ask(pair.target, load=True)
    faults = [
        *_before_faults(made, before),
        *_outcome_faults(made, after, pair),
        *trunk_faults(due, after),
        *grafted.block_faults(pair, _block(made).repeated),
        *grafted.rest_faults(rest, pair.target),
        *grafted.index_faults(pair.target),
        *_lineage_faults(made, asked.kind),
        *_second_faults(pair, release, asked.precision),
    ]
    return replace(
        begun,
        brought=dict(Counter(piece.conversion for piece in made.repair.tensors)),
        repeated=len(_block(made).repeated),
        added=made.repair.plan.added,
        after=outcome(after),
        limited=_limited(made),
        foreseen=not prediction_faults(made.repair.checked_before.engines[0], before),
        faults=tuple(faults),
    )


def _graft(pair: Pair, release: str, precision: Precision) -> Delivered:
    return mtpfix.graft(
        pair.target,
        pair.base,
        vllm=[release],
        platforms=["cuda"],
        precision=precision,
        backup=False,
        write=True,
    )


def _is_good_whole(server: Server, asked: Asked, folder: Path) -> bool:
    """Return whether the same target, its block never lost and in BF16, is good once repaired.

    vLLM says it of the draft; what it makes of the target model is mtpfix's word (MTP206).
    """
    forge(asked.family, folder, asked.scheme, variant=asked.variant)
    release = server.about["vllm"].split("+")[0]
    repair = mtpfix.rewrite(
        folder, vllm=[release], platforms=["cuda"], backup=False, allow_partial=True, write=True
    )
    if any(finding.code == "MTP206" for finding in repair.checked.findings):
        return False
    return outcome(server.ask(folder, load=True)).startswith("clean")


def _block(made: Delivered) -> Block:
    """Return the block that a graft brings."""
    block = made.repair.block
    if block is None:
        raise ValueError("this is no graft")
    return block


def _before_faults(made: Delivered, before: Answer) -> list[str]:
    """Return whether mtpfix took a target that vLLM cannot use for a good one."""
    said, did = made.repair.checked_before.engines[0].outcome, outcome(before)
    return [f"foreseen {said}, vLLM: {did}"] if "clean" in (said, did.partition(":")[0]) else []


def _limited(made: Delivered) -> bool:
    """Return whether mtpfix says that no metadata makes this release load the block."""
    limits = [m.limit for m in made.repair.checked.engines[0].modules if m.limit is not None]
    return any(limit.phase != "forward" for limit in limits)


def _outcome_faults(made: Delivered, after: Answer, pair: Pair) -> list[str]:
    """Return how vLLM's answer is not that of a block that is loaded clean."""
    if _limited(made):
        return prediction_faults(made.repair.checked.engines[0], after)
    names = [name for name in pairs.tensors(pair.target) if name.rpartition(".")[0] in pair.modules]
    if pair.kind == "other-weights":  # some drafts take the target's own instead, which differ here
        names = [name for name in names if not name.endswith(tuple(COPIES))]
    faults = loading_faults(_with_shared(after, _block(made).repeated), pair.family, names)
    if made.exit_code or made.repair.checked.engines[0].outcome != "clean":
        faults.append("mtpfix does not call the grafted checkpoint clean")
    return faults


def _with_shared(after: Answer, repeated: Sequence[str]) -> Answer:
    """Return an answer without the heads that vLLM takes from the target model later on.

    Its proposer gives the target's head to every MTP layer, whatever the checkpoint holds
    (`_maybe_share_lm_head`).
    """
    if after.load is None or not any(name.endswith("head.weight") for name in repeated):
        return after
    empty = after.load.uninitialised
    missing = {name: size for name, size in empty.items() if not name.endswith(SHARED)}
    return replace(after, load=replace(after.load, uninitialised=missing))


def _lineage_faults(made: Delivered, kind: Kind) -> list[str]:
    due = LINEAGE.get(kind, "same weights")
    said = _block(made).lineage.verdict
    return [] if said == due else [f"the base is called {said!r}, it is {due!r}"]


def _second_faults(pair: Pair, release: str, precision: Precision) -> list[str]:
    """Return what a second graft changes."""
    files = grafted.contents(pair.target)
    _graft(pair, release, precision)
    return [] if grafted.contents(pair.target) == files else ["a second graft changes files"]


def proofs(
    server: Server, part: str, families: Sequence[str], schemes: Sequence[str], *, helper: bool
) -> Iterator[Proof]:
    """Yield the proofs of a part of the page.

    Args:
        server: a running vLLM.
        part: one of `graft_cases.PARTS`.
        families: the tiny models of targets to prove; none: all.
        schemes: the schemes of targets to prove; none: all.
        helper: as for `prove`.
    """
    release = server.about["vllm"].split("+")[0]
    for asked in graft_cases.PARTS[part]():
        wanted = asked.family in (families or [asked.family])
        wanted &= asked.scheme in (schemes or [asked.scheme])
        if not wanted or not drafted(asked.family, release):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            proof = prove(server, asked, Path(scratch), helper=helper)
        then = proof.after or f"refused: {proof.refused}"
        print(f"{asked}: {proof.before} -> {then}", file=sys.stderr, flush=True)
        for fault in proof.faults:
            print(f"  FAULT {fault}", file=sys.stderr, flush=True)
        yield proof


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", nargs="*", help=", ".join(graft_cases.PARTS))
    parser.add_argument("--python", help="interpreter of an environment with vLLM")
    parser.add_argument("--family", action="append", default=[], choices=tiny.families())
    parser.add_argument("--scheme", action="append", default=[], choices=graft_cases.SCHEMES)
    parser.add_argument("--no-helper", action="store_true", help="leave compressed-tensors out")
    parser.add_argument("--page", action="store_true", help="write docs/graft-proof.md")
    args = parser.parse_args()
    if args.python:
        for part in args.part or graft_cases.PARTS:
            newer = part == "newer"  # of a release of its own, made by `tools.environments`
            running = Home(HOME).server(NEWER) if newer else Server(python=args.python)
            with running as server:
                helper = not args.no_helper
                for proof in proofs(server, part, args.family, args.scheme, helper=helper):
                    RECORD.keep({part: [proof]})
    if args.page:
        PAGE.write_text(page(RECORD.kept()), encoding="utf-8")
    return int(any(proof.faults for rows in RECORD.kept().values() for proof in rows))


if __name__ == "__main__":
    sys.exit(main())
