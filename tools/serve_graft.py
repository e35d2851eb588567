"""Proves a graft by serving: whole engines, and the drafted tokens that they accept.

    python -m tools.serve_graft --python VLLM_PYTHON

A vLLM as it is installed starts on a CPU with a tiny MiMo that lost its MTP block, with the same
after `mtpfix graft`, and after compressed-tensors' helper. In it, trunk and draft go by the last
token alone, so that every drafted token is accepted if the draft is loaded as it is stored. What
came of it is kept in `graft_served.json`, which `docs/graft-proof.md` shows; exits 1 if a grafted
draft is not accepted, or a lost one is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import mtpfix
from tools import graft_helper, plugged
from tools.forge import NONE
from tools.pairs import FP8

DATA = Path(__file__).with_name("graft_served.json")
TOKENS = 60
Way = Literal["lost", "graft", "helper"]
"""Without the block, and how it was brought back."""
STARTS: Sequence[tuple[str, str, Way]] = (
    ("ct-fp8-channel", NONE, "lost"),
    ("ct-fp8-channel", NONE, "graft"),
    ("ct-fp8-channel", NONE, "helper"),
    ("ct-fp8-channel", FP8, "graft"),
    ("ct-int8", NONE, "lost"),
    ("ct-int8", NONE, "graft"),
)
"""Recipe of the target, of the base, and what is done: recipes that vLLM runs on a CPU."""


@dataclass(frozen=True)
class Served:
    """One start: tokens that the draft proposed, and those of them that the model took."""

    release: str
    scheme: str
    donor: str
    way: Way
    drafted: int
    accepted: int
    failed: str

    @property
    def wrong(self) -> bool:
        """Whether a grafted draft is not accepted in full, or one that is missing is."""
        if self.way == "graft":
            return not 0 < self.accepted == self.drafted
        return self.way == "lost" and self.accepted > 0


def start(python: str, scheme: str, donor: str, way: Way, folder: Path) -> Served:
    """Make a pair in an empty folder, bring the block back as asked, and start an engine."""
    base, target = folder / "base", folder / "target"
    plugged.servable(base, donor, "bf16" if donor == NONE else "quantized")
    plugged.servable(target, scheme, "lost")
    if way == "graft":
        # A CPU runs no block in FP8.
        mtpfix.graft(target, base, platforms=["cpu"], precision="bf16", backup=False, write=True)
    elif way == "helper":
        graft_helper.run(base, target)
    code = "import vllm; print(vllm.__version__)"
    asked = _run([python, "-c", code])
    release = asked.stdout.split()[-1].split("+")[0]
    words = [python, str(plugged.STARTER), str(target), "--workers", "1", "--tokens", str(TOKENS)]
    ran = _run(words)
    if ran.returncode:
        lines = [line for line in ran.stderr.splitlines() if "Error: " in line]
        failed = lines[-1].strip() if lines else f"exit code {ran.returncode}"
        return Served(release, scheme, donor, way, 0, 0, failed)
    answer = plugged.answered(ran.stdout)
    return Served(release, scheme, donor, way, answer["drafted"], answer["accepted"], "")


def _run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        words, env={**env, **plugged.QUIET}, capture_output=True, text=True, check=False
    )


def served() -> list[Served]:
    """Return the starts that are kept."""
    if not DATA.exists():
        return []
    return [Served(**row) for row in json.loads(DATA.read_text(encoding="utf-8"))]


def keep(new: Served) -> None:
    """Keep a start, in the place of an older one of the same kind."""
    found = {(one.scheme, one.donor, one.way): one for one in (*served(), new)}
    rows = [asdict(found[each]) for each in STARTS if each in found]
    DATA.write_text(f"{json.dumps(rows, indent=1)}\n", encoding="utf-8")


HEAD = """
## Served

Made by `python -m tools.serve_graft`: whole engines of vLLM as they are installed, on a CPU, with a
tiny MiMo in which every drafted token is accepted if the draft is loaded as it is stored.

| vLLM | recipe | base | | drafted | accepted |
|---|---|---|---|---|---|
"""
WAYS: dict[Way, str] = {
    "lost": "the block is lost",
    "graft": "after `mtpfix graft`",
    "helper": "after the helper",
}


def page(found: Sequence[Served]) -> str:
    """Return the starts as a part of a page."""
    return HEAD + "".join(_rows(found))


def _rows(found: Sequence[Served]) -> Iterator[str]:
    for one in found:
        base = "BF16" if one.donor == NONE else one.donor
        count = f"{one.drafted} | {one.accepted}" if not one.failed else f"{one.failed} | -"
        yield f"| {one.release} | {one.scheme} | {base} | {WAYS[one.way]} | {count} |\n"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", required=True, help="interpreter of an environment with vLLM")
    parser.add_argument("--base", choices=(NONE, FP8), action="append", default=[])
    args = parser.parse_args()
    for scheme, donor, way in STARTS:
        if donor in (args.base or [donor]):
            with tempfile.TemporaryDirectory() as scratch:
                one = start(args.python, scheme, donor, way, Path(scratch))
            print(one, flush=True)
            keep(one)
    return int(any(one.wrong for one in served()))


if __name__ == "__main__":
    sys.exit(main())
