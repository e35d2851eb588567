"""Proves repairs of embedded DSpark drafts by loading, whatever list the metadata had before.

    python -m tools.prove_dspark --python VLLM_PYTHON [--family F ...] [--scheme S ...] [--page]

Each tiny checkpoint (`tools.tiny`) has a quantized target model and a draft in BF16, or one of
which `main_proj` alone is in BF16, and is loaded once under each list (`LISTS`). A proof holds
when mtpfix foresaw what vLLM makes of it, down to the exception, and when after `mtpfix rewrite`
nothing is uninitialised or cast with loss, each tensor of the draft lies bit-equal in it, no file
of weights and no decision about the target model has changed, and a second repair changes nothing.
What came of it is kept in `dspark_proofs.json`, from which `docs/dspark-proof.md` is made; exits 1
if a proof fails.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import mtpfix
from mtpfix.checkpoint.inventory import written_out
from mtpfix.engines.policies import construction
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.live import Server
from mtpfix.model import Module
from tools import grafted, schemes, tiny
from tools.forge import Mtp, forge
from tools.proof_record import Record
from tools.prove import loading_faults, named, outcome, prediction_faults, trunk_faults
from tools.tables import brief, table

FAMILIES = ("deepseek_v4_dspark", "deepseek_v41")
SCHEMES = {
    "ct-fp8-channel": "compressed-tensors FP8",
    "deepseek-v4-fp8": "fp8 (native)",
    "ct-w4a16": "compressed-tensors W4A16",
    "ct-nvfp4": "compressed-tensors NVFP4",
    "ct-int8": "compressed-tensors W8A8",
    "modelopt-nvfp4": "ModelOpt NVFP4",
    "deepseek-v4-fp4": "fp8 with MXFP4 experts",
    "deepseek-v4-mxfp8": "MXFP8 (native) with MXFP4 experts",
}
LISTS = ("none", "disk", "shards", "fused", "right")
"""None; names on disk; of shards; of fused layers, without `context_wkv_proj`; all of them."""
ALONE = ("none", "disk", "right")
"""Those that differ where they name one layer that is not fused."""
CONTEXT = "model.context_wkv_proj"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "dspark-proof.md"
HEAD = """# Embedded DSpark drafts, loaded

Tiny checkpoints whose target model is quantized and whose DSpark draft is in BF16, or (`main_proj`)
whose draft is quantized too but for that layer, loaded by a real vLLM before and after
`mtpfix rewrite`, under each of five lists. Each outcome before was foreseen, exceptions included.
In every row each tensor of the draft lay bit-equal in it afterwards, and no decision about the
target model had changed. `python -m tools.prove_dspark` makes the proofs and this page.

"""


@dataclass(frozen=True)
class Asked:
    """One checkpoint under one list."""

    family: str
    scheme: str
    block: str
    """`bf16`: the whole draft is; `main_proj`: that layer alone."""
    listed: str


@dataclass(frozen=True)
class Proof:
    """What came of it."""

    release: str
    asked: Asked
    before: str
    added: tuple[str, ...]
    after: str
    faults: tuple[str, ...]


def asked() -> Iterator[Asked]:
    """Yield every question."""
    for family in FAMILIES:
        for scheme in (scheme for scheme in SCHEMES if schemes.fits(scheme, family)):
            yield from (Asked(family, scheme, "bf16", each) for each in LISTS)
        yield from (Asked(family, "ct-int8", "main_proj", each) for each in ALONE)


def parsed(row: dict[str, Any]) -> Proof:
    """Return the proof of a row of the file."""
    lists = {key: tuple(row[key]) for key in ("added", "faults")}
    return Proof(**{**row, **lists, "asked": Asked(**row["asked"])})


RECORD = Record(Path(__file__).with_name("dspark_proofs.json"), {"dspark": asked}, parsed)


def listed(question: Asked, release: str) -> list[str]:
    """Return the entries of a question's list, after the modules that the draft asks about."""
    family = question.family
    known = policy.policy(family)
    context = construction.context(known, tiny.config(family), release, "cuda")
    modules = [m for m in construction.modules(known, context, "draft") if m.asks]
    if question.block == "main_proj":
        modules = [module for module in modules if module.name.endswith("main_proj")]
    experts = [name for m in modules if m.kind == "experts" for name in _experts(m)]
    linears = [module for module in modules if module.kind == "linear"]
    fused = [module.name for module in linears]
    found = {
        "none": [],
        "disk": list(dict.fromkeys(name for m in modules for name in written_out(m))),
        "shards": [*dict.fromkeys(name for m in linears for name in _shards(m)), *experts],
        "fused": [*(name for name in fused if name != CONTEXT), *experts],
        "right": [*fused, *experts],
    }
    return found[question.listed]


def _shards(module: Module) -> Iterator[str]:
    """Yield what entries of a fused layer are called in an MTP block: the parts, in its place."""
    above = module.name.rpartition(".")[0]
    yield from (f"{above}.{member.rpartition('.')[2]}" for member in module.members)


def _experts(module: Module) -> Iterator[str]:
    """Yield the names that are compared with entries: of the module, and of each weight."""
    yield module.name
    for number in range(module.experts):
        yield from (f"{module.name}.{number}.{weight}" for weight in module.probe)


def prove(server: Server, question: Asked, folder: Path) -> Proof:
    """Make one checkpoint in a folder, repair it, and return the proof."""
    release = server.about["vllm"].split("+")[0]
    family, scheme = question.family, question.scheme
    made = forge(
        family,
        folder,
        scheme,
        variant=tiny.variant(family, scheme),
        mtp=cast(Mtp, question.block),
        ignore=("lm_head", *listed(question, release)),
    )
    report = mtpfix.inspect(folder, vllm=[release]).engines[0]
    before, weights = server.ask(folder, load=True), _weights(folder)
    repair = mtpfix.rewrite(folder, vllm=[release], platforms=["cuda"], backup=False, write=True)
    after = server.ask(folder, load=True)
    again = mtpfix.rewrite(folder, vllm=[release], platforms=["cuda"], backup=False, write=True)
    faults = (
        *prediction_faults(report, before),
        *prediction_faults(repair.after.engines[0], after),
        *loading_faults(after, family, made.mtp),
        *trunk_faults(before, after),
        *([] if _weights(folder) == weights else ["files of weights have changed"]),
        *(["a second repair changes files"] if again.files else ()),
    )
    return Proof(release, question, outcome(before), repair.plan.added, outcome(after), faults)


def _weights(folder: Path) -> dict[str, str]:
    """Return the checksums of all files but those that a repair may change."""
    found = grafted.contents(folder)
    return {name: found[name] for name in found if not name.endswith(".json")}


def page(proofs: Sequence[Proof]) -> str:
    """Return the proofs as a page of the documentation."""
    heads = ("family", "method", "draft", "list", "vLLM", "before", "entries written", "after")
    rows = (
        (
            p.asked.family,
            SCHEMES[p.asked.scheme],
            "BF16" if p.asked.block == "bf16" else "`main_proj` BF16",
            p.asked.listed,
            p.release,
            brief(p.before),
            named(p.added),
            brief(p.after) + "".join(f"; FAULT: {fault}" for fault in p.faults),
        )
        for p in proofs
    )
    return HEAD + table(heads, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", help="interpreter of an environment with vLLM")
    parser.add_argument("--family", action="append", choices=FAMILIES)
    parser.add_argument("--scheme", action="append", choices=SCHEMES)
    parser.add_argument("--page", action="store_true", help="write docs/dspark-proof.md")
    args = parser.parse_args(arguments)
    faults = 0
    if args.python:
        with Server(python=args.python) as server:
            for question in asked():
                if question.family not in (args.family or FAMILIES):
                    continue
                if question.scheme not in (args.scheme or SCHEMES):
                    continue
                with tempfile.TemporaryDirectory() as scratch:
                    proof = prove(server, question, Path(scratch))
                print(f"{question}: {proof.before} -> {proof.after}", file=sys.stderr, flush=True)
                for fault in proof.faults:
                    print(f"  FAULT {fault}", file=sys.stderr, flush=True)
                RECORD.keep({"dspark": [proof]})
                faults += len(proof.faults)
    if args.page:
        PAGE.write_text(page(RECORD.kept()["dspark"]), encoding="utf-8")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
