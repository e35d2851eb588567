"""Proves repairs of schemes by loading: a real vLLM before, `mtpfix rewrite`, the same vLLM after.

    python -m tools.prove_schemes --python VLLM_PYTHON [PART ...] [--family F ...] [--trunk S ...]
    python -m tools.prove_schemes --release 0.28.0 [PART ...]
    python -m tools.prove_schemes --page

The MTP block of each tiny checkpoint (`tools.blocks`) is quantized, and not as the metadata say. A
proof holds when mtpfix foresaw what vLLM makes of it, down to the exception, and when afterwards
nothing is uninitialised or cast with loss, each tensor of the block lies bit-equal in the draft, no
tensor of the checkpoint and no decision about the target model has changed, and a second repair
changes nothing. Where mtpfix refuses, no file has changed. Beside it stands what vLLM makes of
metadata that were written by hand (`tools.block_metadata`): where those load clean, a refusal is
mtpfix's limit and not the method's. What came of it is kept in `scheme_proofs.json`, from which
`docs/scheme-proof.md` is made; exits 1 if a proof fails.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import mtpfix
from mtpfix import Repair
from mtpfix.engines.vllm.live import Answer, Server
from mtpfix.errors import RefusedError
from mtpfix.model import Edit
from tools import blocks, grafted, pairs, tiny
from tools.block_metadata import with_metadata
from tools.blocks import Asked
from tools.environments import HOME, Home, releases
from tools.prove import drafted, loading_faults, outcome, prediction_faults
from tools.scheme_page import PAGE, page
from tools.scheme_record import RECORD, SEARCHES, Proof

CACHE_SCALES = tuple(f".{part}_scale" for part in ("q", "k", "v", "prob"))
"""Ends of parameters of attention layers, which some methods have for a quantized cache alone."""
LONGEST = 60
"""Letters of a value that an edit is shown with."""


def prove(server: Server, asked: Asked, folder: Path) -> Proof:
    """Make one checkpoint in a folder, repair it, and return the proof.

    Args:
        server: a running vLLM.
        asked: the checkpoint.
        folder: an empty folder.
    """
    release = server.about["vllm"].split("+")[0]
    made = asked.made(folder / "model")
    report = mtpfix.inspect(made.folder, vllm=[release]).engines[0]
    before = server.ask(made.folder, load=True)
    with_metadata(asked, made, server, folder / "by-hand")
    hand = server.ask(folder / "by-hand", load=True)
    begun = Proof(
        release,
        asked,
        before=outcome(before),
        by_hand=outcome(hand),
        by_hand_trunk=same_trunk(before, hand),
        faults=tuple(prediction_faults(report, before)),
    )
    files, tensors = grafted.contents(made.folder), pairs.tensors(made.folder)
    try:
        repair = _rewritten(made.folder, release)
    except RefusedError as error:
        changed = grafted.contents(made.folder) != files
        faults = (*begun.faults, *(["refused, and files changed"] if changed else ()))
        return replace(begun, refused=error.message, faults=faults)
    if not repair.files:
        return replace(begun, refused=_left(repair) or "mtpfix calls it clean")
    after = server.ask(made.folder, load=True)
    loaded = [] if repair.exit_code else loading_faults(after, asked.family, made.mtp)
    whatever = loading_faults(hand, asked.family, made.mtp)  # vLLM does it with any metadata
    faults = (
        *begun.faults,
        *prediction_faults(repair.after.engines[0], after),
        *(fault for fault in loaded if fault not in whatever),
        *([] if same_trunk(before, after) else ["decisions about the target model have changed"]),
        *grafted.rest_faults(tensors, made.folder),
        *(["a second repair changes files"] if _rewritten(made.folder, release).files else ()),
    )
    return replace(
        begun,
        edits=tuple(map(short, repair.plan.edits)),
        after=outcome(after),
        trunk=same_trunk(before, after),
        refused=_left(repair),
        faults=faults,
    )


def _rewritten(folder: Path, release: str) -> Repair:
    return mtpfix.rewrite(folder, vllm=[release], platforms=["cuda"], backup=False, write=True)


def _left(repair: Repair) -> str:
    """Return why a repair leaves the draft as it is; empty where mtpfix calls it clean."""
    if not repair.exit_code:
        return ""
    reasons = dict.fromkeys(unresolved.reason for unresolved in repair.plan.unresolved)
    codes = {f.code for f in repair.checked.findings if f.severity == "error"}
    return repair.refused or "; ".join(reasons) or ", ".join(sorted(codes))


def same_trunk(one: Answer, other: Answer) -> bool:
    """Return whether vLLM builds the target model alike: its methods, shapes and types.

    Scales of a quantized cache are left out: ModelOpt's MIXED_PRECISION has them only where the
    metadata state such a cache, its plain forms always.
    """
    return one.of("trunk") == other.of("trunk") and _held(one) == _held(other)


def _held(answer: Answer) -> dict[str, tuple[tuple[int, ...], str]]:
    held = answer.parameters["trunk"]
    return {name: held[name] for name in held if not name.endswith(CACHE_SCALES)}


def short(edit: Edit) -> str:
    """Return an edit in a few words: its pointer without what all have, and its value."""
    file = "" if edit.file == "config.json" else f"{edit.file}#"
    pointer = edit.pointer.replace("/quantization_config", "", 1).lstrip("/")
    if edit.op == "remove":
        return f"{file}{pointer} removed"
    value = json.dumps(edit.value)
    return f"{file}{pointer} = {value[:LONGEST]}{'…' if len(value) > LONGEST else ''}"


def proofs(server: Server, args: argparse.Namespace) -> Iterator[tuple[str, Proof]]:
    """Yield the proofs that are asked for, each with the part of the page that it belongs to."""
    release = server.about["vllm"].split("+")[0]
    for part in args.part or blocks.PARTS:
        for asked in blocks.PARTS[part]():
            if not _is_wanted(asked, args) or not drafted(asked.family, release):
                continue
            with tempfile.TemporaryDirectory() as scratch:
                proof = prove(server, asked, Path(scratch))
            then = proof.after or f"refused: {proof.refused}"
            print(f"{asked}: {proof.before} -> {then}", file=sys.stderr, flush=True)
            print(f"  by hand: {proof.by_hand}", file=sys.stderr, flush=True)
            for fault in proof.faults:
                print(f"  FAULT {fault}", file=sys.stderr, flush=True)
            yield part, proof


def _is_wanted(asked: Asked, args: argparse.Namespace) -> bool:
    limits = ((asked.family, args.family), (asked.trunk, args.trunk), (asked.block, args.block))
    return all(not chosen or one in chosen for one, chosen in limits)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", nargs="*", help=", ".join(blocks.PARTS))
    running = parser.add_mutually_exclusive_group()
    running.add_argument("--python", help="interpreter of an environment with vLLM")
    running.add_argument("--release", choices=releases(), help="made by tools.environments")
    parser.add_argument("--family", action="append", choices=tiny.families())
    parser.add_argument("--trunk", action="append", choices=blocks.TRUNKS)
    parser.add_argument("--block", action="append", choices=blocks.BLOCKS)
    parser.add_argument("--page", action="store_true", help="write docs/scheme-proof.md")
    args = parser.parse_args(arguments)
    faults = 0
    if args.python or args.release:
        home = Home(HOME)
        vllm = home.server(args.release) if args.release else Server(python=args.python)
        with vllm as server:
            for part, proof in proofs(server, args):
                RECORD.keep({part: [proof]})
                faults += len(proof.faults)
    if args.page:
        PAGE.write_text(page(RECORD.kept(), SEARCHES.kept()), encoding="utf-8")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
