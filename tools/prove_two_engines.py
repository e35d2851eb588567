"""Proves one list for both engines by loading: a real SGLang and a real vLLM, before and after.

    python -m tools.prove_two_engines --python VLLM_PYTHON [--home DIR] [--family F] [--scheme S]
    python -m tools.prove_two_engines --page

The MTP block of each tiny checkpoint is in BF16, and its metadata do not say so. `mtpfix rewrite
--engine vllm --sglang RELEASE` repairs it. Where that leaves SGLang wrong, `mtpfix override
--sglang RELEASE` makes a draft folder. A proof holds when mtpfix foresaw whether each engine loads
the draft clean, before and after, when no decision of either about the target model has changed,
and when mtpfix says so of each engine that is not served. What came of it is kept in
`two_engines_proofs.json`, from which `docs/two-engines-proof.md` is made; exits 1 if one fails.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import mtpfix
from mtpfix import draft_folder
from mtpfix.engines.sglang import live as sglang
from mtpfix.engines.vllm import live as vllm
from mtpfix.errors import MtpfixError, UnknownError
from tools import prove, sglang_tiny
from tools.forge import forge
from tools.prove_draft_folder import outcome
from tools.prove_sglang import decided_of_target, foreseen
from tools.sglang_environment import HOME, Home, releases
from tools.tables import brief
from tools.two_engines_page import PAGE, page
from tools.two_engines_record import NO_DRAFT, RECORD, SCHEMES, Asked, Proof, Seen, asked_of

LONGEST = 160
"""Letters of what mtpfix says."""


class Engines(NamedTuple):
    """The two that are running."""

    sglang: sglang.Server
    vllm: vllm.Server

    @property
    def releases(self) -> Seen:
        """Return their releases."""
        return Seen(self.sglang.about["sglang"], self.vllm.about["vllm"].split("+")[0])


class Answers(NamedTuple):
    """What both say of a folder; vLLM says nothing of a family that it does not draft."""

    sglang: sglang.Answer
    vllm: vllm.Answer | None

    @property
    def seen(self) -> Seen:
        """Return what came of it, in a few words."""
        theirs = NO_DRAFT if self.vllm is None else brief(prove.outcome(self.vllm))
        return Seen(outcome(self.sglang), theirs.partition(", ")[0])


def ask(engines: Engines, asked: Asked, folder: Path) -> Answers:
    """Return what both engines make of a folder."""
    theirs = None
    if prove.drafted(sglang_tiny.like(asked.family), engines.releases.vllm):
        theirs = engines.vllm.ask(folder, load=True)
    told = sglang_tiny.told(folder)
    return Answers(engines.sglang.ask(folder, load=True, tolerant=True, arguments=told), theirs)


def proved(engines: Engines, asked: Asked, folder: Path) -> Proof:
    """Make one checkpoint in an empty folder, repair it, and return the proof."""
    variant = sglang_tiny.variant(asked.family, asked.scheme)
    forge(sglang_tiny.like(asked.family), folder, asked.scheme, variant=variant)
    sglang_tiny.adapt(folder, asked.family)
    ours, theirs = engines.releases
    before = ask(engines, asked, folder)
    proof = Proof(ours, theirs, asked, before.seen)
    faults = unforeseen(engines, before, folder)
    try:
        made = mtpfix.rewrite(
            folder, engines=["vllm"], sglang=[ours], backup=False, allow_partial=True, write=True
        )
    except MtpfixError as error:
        proof = replace(proof, refused=error.message[:LONGEST])
    else:
        proof = replace(proof, added=made.plan.added)
        if made.files:
            after = ask(engines, asked, folder)
            faults += [*unforeseen(engines, after, folder), *moved(before, after)]
            proof = replace(proof, after=after.seen)
            before = after
    if (proof.after or proof.before).sglang != "clean":
        proof, more = with_folder(engines, proof, before.sglang, folder)
        faults += more
    return replace(proof, faults=tuple(faults))


def with_folder(
    engines: Engines, proof: Proof, before: sglang.Answer, folder: Path
) -> tuple[Proof, list[str]]:
    """Return the proof with what a draft folder does for SGLang, and its faults."""
    output = folder.with_name("draft")
    try:
        made = draft_folder(folder, sglang=[proof.release], output=output)
    except MtpfixError as error:
        return replace(proof, unhelped=error.message[:LONGEST]), []
    if made.output is None:
        faults = [] if made.exit_code else ["override finds nothing wrong, and SGLang does"]
        return replace(proof, unhelped="no draft folder would help"), faults
    told = sglang_tiny.told(folder)
    after = engines.sglang.ask(folder, load=True, tolerant=True, draft=output, arguments=told)
    proof = replace(proof, folder=outcome(after))
    same = decided_of_target(before) == decided_of_target(after)
    faults = [] if same else ["SGLang decides otherwise about the target model, with the folder"]
    if proof.folder != "clean":
        faults.append(f"with the folder: foreseen clean, SGLang: {proof.folder}")
    return proof, faults


def unforeseen(engines: Engines, answers: Answers, folder: Path) -> list[str]:
    """Return where mtpfix was wrong about whether a draft is loaded clean."""
    release, theirs = engines.releases
    found = []
    said = {"SGLang": (foreseen(folder, release), answers.seen.sglang)}
    if answers.vllm is not None:
        said["vLLM"] = (by_vllm(folder, theirs), answers.seen.vllm)
    for title, (ours, real) in said.items():
        if ours != "unknown" and (ours == "clean") != real.startswith("clean"):
            found.append(f"foreseen {ours}, {title}: {real}")
    return found


def by_vllm(folder: Path, release: str) -> str:
    """Return what is foreseen of the draft on vLLM; nothing where it is the target that fails."""
    engines = mtpfix.check(folder, vllm=[release]).engines
    if not engines:
        return "unknown"
    trunk = (m for m in engines[0].modules if m.decision.module.part == "trunk")
    return "unknown" if any(m.consequence for m in trunk) else engines[0].outcome


def moved(before: Answers, after: Answers) -> list[str]:
    """Return the engines that decide otherwise about the target model than before."""
    found = []
    if decided_of_target(before.sglang) != decided_of_target(after.sglang):
        found.append("SGLang decides otherwise about the target model")
    if before.vllm is not None and after.vllm is not None:
        found += prove.trunk_faults(before.vllm, after.vllm)
    return found


def proofs(engines: Engines, args: argparse.Namespace) -> Iterator[Proof]:
    """Yield the proofs that are asked for."""
    for scheme in args.scheme or SCHEMES:
        for asked in asked_of(scheme):
            if args.family and asked.family not in args.family:
                continue
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    proof = proved(engines, asked, Path(scratch) / "model")
                except (RuntimeError, IndexError, UnknownError) as error:
                    print(*asked, f"not asked: {error}"[:LONGEST], file=sys.stderr, flush=True)
                    continue
            print(*asked, proof.before, proof.after, proof.folder, proof.way, file=sys.stderr)
            for fault in proof.faults:
                print(f"  FAULT {fault}", file=sys.stderr, flush=True)
            yield proof


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", help="interpreter of an environment with vLLM")
    parser.add_argument("--release", default=releases()[0], choices=releases(), help="of SGLang")
    parser.add_argument("--home", type=Path, default=HOME, help="see sglang_environment.py")
    parser.add_argument("--family", action="append", choices=sglang_tiny.families())
    parser.add_argument("--scheme", action="append", choices=SCHEMES)
    parser.add_argument("--page", action="store_true", help="write docs/two-engines-proof.md")
    args = parser.parse_args(arguments)
    faults = 0
    if args.python:
        with Home(args.home).server(args.release) as ours, vllm.Server(python=args.python) as other:
            for proof in proofs(Engines(ours, other), args):
                RECORD.keep({proof.asked.scheme: [proof]})
                faults += len(proof.faults)
    if args.page:
        PAGE.write_text(page(RECORD.kept()), encoding="utf-8")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
