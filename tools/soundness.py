"""Whether forged checkpoints are sound: a real vLLM loads them with the list that it asks for.

    python -m tools.soundness --python VLLM_PYTHON [--scheme S ...] [--family F ...]

mtpfix takes no part in it. vLLM is asked for the names of the draft's layers; those that the
checkpoint stores unquantized are listed, exactly as vLLM asks about them, in the dialect's own
place and form. A checkpoint is sound when the draft then loads clean, bit by bit: with the MTP
block in BF16, and with the block quantized. Prints a Markdown table; exits 1 if one is not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mtpfix.engines.vllm.live import Answer, Server
from tools import schemes, tiny
from tools.forge import Mtp, forge
from tools.prove import drafted, loading_faults, outcome
from tools.record import experts, names_of, spread

BLOCKS: tuple[Mtp, ...] = ("bf16", "quantized")


class Trial(NamedTuple):
    """One checkpoint, and what vLLM did with it."""

    family: str
    scheme: str
    mtp: Mtp
    outcome: str
    faults: tuple[str, ...]
    """Why it is not sound; empty when it is."""


def trial(server: Server, family: str, scheme: str, mtp: Mtp, folder: Path) -> Trial:
    """Forges a checkpoint in `folder` with the right list, and has vLLM load its draft."""
    variant = tiny.variant(family, scheme)
    forge(family, folder, scheme, variant=variant, mtp=mtp)
    listed = ["lm_head", *unquantized(family, variant, mtp, server.ask(folder, tolerant=True))]
    forged = forge(family, folder, scheme, variant=variant, mtp=mtp, ignore=listed)
    answer = server.ask(folder, load=True)
    faults = loading_faults(answer, family, forged.mtp)
    if mtp == "bf16":
        faults += [f"built quantized: {m.name}" for m in answer.of("draft") if m.scheme]
    return Trial(family, scheme, mtp, outcome(answer), tuple(faults))


def unquantized(family: str, variant: str, mtp: Mtp, answer: Answer) -> list[str]:
    """The names that vLLM asks about and the MTP block stores unquantized: all, or its heads."""
    heads = [made.name for made in answer.of("draft") if made.kind == "lm_head" and made.name]
    if mtp != "bf16":
        return heads
    names = names_of(family, variant, answer)
    everything = (*names.linears, *spread(names), *names.experts, *experts(names))
    return list(dict.fromkeys(everything))


def trials(
    server: Server, families: Iterable[str], chosen: Iterable[str], blocks: Iterable[Mtp]
) -> Iterator[Trial]:
    """Every trial of some families and schemes that makes sense."""
    release = server.about["vllm"].split("+")[0]
    asked = [family for family in families if drafted(family, release)]
    for scheme in chosen:
        for family in asked:
            if scheme in tiny.unfit(family) or not schemes.fits(scheme, family):
                continue
            for mtp in blocks:
                with tempfile.TemporaryDirectory() as folder:
                    yield trial(server, family, scheme, mtp, Path(folder))


def table(found: Sequence[Trial]) -> str:
    """The trials as a Markdown table."""
    rows = [f"| {t.family} | {t.scheme} | {t.mtp} | {t.outcome} |" for t in found]
    return "\n".join(("| family | scheme | MTP block | vLLM |", "|---|---|---|---|", *rows)) + "\n"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", required=True, help="interpreter of an environment with vLLM")
    parser.add_argument("--pythonpath", help="folder of an unpacked wheel of another release")
    parser.add_argument("--family", action="append", choices=tiny.families())
    parser.add_argument("--scheme", action="append", choices=list(schemes.named()))
    parser.add_argument("--mtp", action="append", choices=BLOCKS)
    args = parser.parse_args()
    found: list[Trial] = []
    with Server(python=args.python, pythonpath=args.pythonpath) as server:
        chosen = args.scheme or schemes.named()
        for made in trials(server, args.family or tiny.families(), chosen, args.mtp or BLOCKS):
            found.append(made)
            print(f"{made.family} {made.scheme} {made.mtp}: {made.outcome}", file=sys.stderr)
            for fault in made.faults:
                print(f"  FAULT {fault}", file=sys.stderr)
    print(table(found))
    return 1 if any(made.faults for made in found) else 0


if __name__ == "__main__":
    sys.exit(main())
