"""Proves corrections of the index by loading: vLLM before, `mtpfix rewrite`, the same vLLM after.

    python -m tools.prove_index --python VLLM_PYTHON [--family F ...] [--scheme S] [--kind K ...]

Each tiny checkpoint is forged sound, loaded, spoilt (`tools.index_faults`), loaded, repaired by one
`mtpfix rewrite`, and loaded again, as `vllm serve` would (`--load-format auto`). A proof holds when
afterwards vLLM loads the block clean and each of its tensors bit-equal, decides about the target
model as it did for the sound checkpoint, `mtpfix check` is clean, and no weight file has changed.
Of the faults that no edit puts right it is proved that nothing was written. Prints a Markdown
table; exits 1 if a proof fails.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mtpfix
from mtpfix.engines.vllm.live import Answer, Server
from mtpfix.errors import MtpfixError
from tools import grafted, tiny
from tools.forge import forge
from tools.index_faults import MENDED, REFUSED
from tools.prove import loading_faults, outcome, trunk_faults
from tools.tables import table


@dataclass(frozen=True)
class Proof:
    """One checkpoint, before and after.

    Attributes:
        before, after: what vLLM did, in a few words; after is empty where nothing was written.
        said: what was corrected, or why nothing was.
        added: entries that were written beside it.
        faults: every way in which the proof fails.
    """

    family: str
    scheme: str
    kind: str
    before: str
    said: str
    added: tuple[str, ...]
    after: str
    faults: tuple[str, ...]


def prove(
    server: Server, family: str, scheme: str, kind: str, folder: Path, *, ready: bool = False
) -> Proof:
    """Return the proof of one fault.

    Args:
        server: a running vLLM.
        family: a tiny model (`tools.tiny`).
        scheme: quantization of the target model; the block is in BF16.
        kind: one of `MENDED` or `REFUSED`.
        folder: an empty folder.
        ready: whether the metadata is right beforehand, so that the index alone is wrong.
    """
    variant = tiny.variant(family, scheme)
    block = forge(family, folder, scheme, variant=variant, shards=3).mtp
    release = server.about["vllm"].split("+")[0]
    if ready:
        mtpfix.rewrite(folder, vllm=[release], platforms=["cuda"], backup=False, write=True)
    sound = server.ask(folder)
    {**MENDED, **REFUSED}[kind](folder, block)
    before = _loaded(server, folder)
    files = grafted.contents(folder)
    added: tuple[str, ...] = ()
    try:
        made = mtpfix.rewrite(folder, vllm=[release], platforms=["cuda"], backup=False, write=True)
        added, refused = made.plan.added, made.index.refused
        said = "; ".join((*made.index.done, *(each.reason for each in refused)))
    except MtpfixError as error:
        said = error.message
    if kind in REFUSED:
        same = grafted.contents(folder)[_INDEX] == files[_INDEX]
        faults = [] if same else ["nothing was to be written, and the index changed"]
        return Proof(family, scheme, kind, outcome(before), said, added, "", tuple(faults))
    after = _loaded(server, folder)
    faults = [
        *loading_faults(after, family, block),
        *trunk_faults(sound, after),
        *_file_faults(folder, files),
        *_check_faults(folder, release),
    ]
    return Proof(family, scheme, kind, outcome(before), said, added, outcome(after), tuple(faults))


_INDEX = "model.safetensors.index.json"


def _loaded(server: Server, folder: Path) -> Answer:
    return server.ask(folder, load=True, load_format="auto")


def _file_faults(folder: Path, files: dict[str, str]) -> list[str]:
    """Return the weight files that the repair changed."""
    now = grafted.contents(folder)
    return [name for name in files if name.endswith(".safetensors") and now[name] != files[name]]


def _check_faults(folder: Path, release: str) -> list[str]:
    """Return what `check` finds afterwards."""
    report = mtpfix.check(folder, vllm=[release])
    graver = [f.code for f in report.findings if f.severity == "error"]
    return [f"check: {code}" for code in graver or (["exit code"] if report.exit_code else [])]


def shown(proofs: Sequence[Proof]) -> str:
    """Return the proofs as a Markdown table."""
    heads = ("family", "scheme", "fault", "vLLM before", "edit", "entries", "vLLM after")
    return table(
        heads,
        (
            (p.family, p.scheme, p.kind, p.before, p.said, str(len(p.added)), p.after)
            for p in proofs
        ),
    )


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", required=True, help="interpreter of an environment with vLLM")
    parser.add_argument("--pythonpath", help="folder of an unpacked wheel of another release")
    parser.add_argument("--family", action="append", choices=tiny.families())
    parser.add_argument("--scheme", default="ct-fp8-channel")
    parser.add_argument("--ready", action="store_true", help="repair the metadata beforehand")
    parser.add_argument("--kind", action="append", choices=[*MENDED, *REFUSED])
    args = parser.parse_args()
    proofs: list[Proof] = []
    running = Server(python=args.python, pythonpath=args.pythonpath)
    with running as server:
        for family in args.family or ("glm4_moe",):
            for kind in args.kind or [*MENDED, *REFUSED]:
                with tempfile.TemporaryDirectory() as scratch:
                    folder = Path(scratch, "model")
                    proof = prove(server, family, args.scheme, kind, folder, ready=args.ready)
                proofs.append(proof)
                print(f"{family} {kind}: {proof.before} -> {proof.after}", file=sys.stderr)
                for fault in proof.faults:
                    print(f"  FAULT {fault}", file=sys.stderr)
    print(shown(proofs))
    return 1 if any(proof.faults for proof in proofs) else 0


if __name__ == "__main__":
    sys.exit(main())
