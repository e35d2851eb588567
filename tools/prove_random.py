"""Random checkpoints, judged and then loaded by a real engine: is each outcome foretold?

    python -m tools.prove_random --release 0.32.0 --count 500 [--seed 0] [--first N] [--home DIR]
    python -m tools.prove_random --engine sglang --count 300

Each checkpoint draws a family, a recipe of quantization, how the MTP block is stored, an ignore
list, and what is done to the block: nothing, a module under another name that the loader takes,
parts of a fused module as one under the name of the whole, a tensor that nothing takes, or one
that is lost. Prints a line for each outcome that was not foretold; exits 1 where one was called
clean and is not.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from torch import Tensor

import mtpfix
from mtpfix.engines.vllm.live import Server
from mtpfix.errors import MtpfixError, UnknownError
from tools import destinations, environments, sglang_random, tiny
from tools.prove import drafted, outcome
from tools.random_draws import NOT_ASKED, Draw, Judge, asked, draw, make, on_disk

WRONG = ("load_error", "silent_garbage")


class VllmJudge(Judge):
    """A running vLLM.

    Args:
        server: it.
        release: its release.
    """

    title = "vLLM"
    lists = ("head", "absent", "disk", "asked")
    changes = ("none", "none", "respelled", "fused", "extra", "lost")  # nothing twice as often

    def __init__(self, server: Server, release: str) -> None:
        self._server = server
        self._release = release
        self.families = [family for family in tiny.families() if drafted(family, release)]

    def adapt(self, folder: Path, family: str) -> None:
        """Change nothing: checkpoints are forged for vLLM."""

    def entries(
        self,
        drawn: Draw,
        variant: str,
        chance: random.Random,  # noqa: ARG002 - all of its lists are made without
    ) -> list[str] | None:
        """Return the ignore list that was drawn."""
        if drawn.listed == "absent":
            return None
        found = ["lm_head"]
        if drawn.listed == "disk":
            found += on_disk(drawn.family, variant)
        if drawn.listed == "asked":
            found += asked(drawn.family, variant, self._release)
        return list(dict.fromkeys(found))

    def change(
        self, drawn: Draw, variant: str, tensors: dict[str, Tensor], chance: random.Random
    ) -> str:
        """Do to the tensors what was drawn; return the name that it was done to."""
        known = (drawn.family, variant, self._release)
        if drawn.change == "extra":
            prefixes = destinations.layer_prefixes(drawn.family, variant)
            name = chance.choice(prefixes or [""]) + chance.choice(destinations.STRANGE)
            if name not in tensors and name not in taken(*known):
                size = () if name.endswith("_scale") else (4, 4)
                tensors[name] = next(iter(tensors.values())).new_zeros(size)
            return name
        others = respellings(*known, set(tensors))
        if not others:
            return ""
        name = chance.choice(sorted(others))
        tensors[others[name]] = tensors.pop(name)
        return name

    def foretold(self, folder: Path) -> str:
        """Return what mtpfix foretells; `unknown` where it does not judge.

        Where it is the target that fails, nothing is said of the draft.
        """
        try:
            engines = mtpfix.inspect(folder, vllm=[self._release], trunk=True).engines
        except MtpfixError as error:
            return f"unknown: {error}"
        if not engines:
            return "unknown"
        trunk = (m for m in engines[0].modules if m.decision.module.part == "trunk")
        return "target fails" if any(m.consequence for m in trunk) else engines[0].outcome

    def heard(self, folder: Path) -> str:
        """Return what vLLM did."""
        return outcome(self._server.ask(folder, load=True))


@cache
def taken(family: str, variant: str, release: str) -> dict[str, str]:
    """Names that the loader was seen to take, and the parameter that each is loaded into.

    Those that go into several parameters are left out.
    """
    path = destinations.FOLDER / f"{family}.json"
    rows = json.loads(path.read_text(encoding="utf-8")).get(variant) if path.exists() else None
    order = list(reversed(environments.releases()))
    names = (rows or {"names": {}})["names"].items()
    answers = {name: destinations.spread(found, order).get(release, "") for name, found in names}
    return {
        name: into
        for name, into in answers.items()
        if isinstance(into, str) and into and not into.startswith("!")
    }


def respellings(family: str, variant: str, release: str, held: set[str]) -> dict[str, str]:
    """Tensors of the block, and another name for each by which the loader takes it alone."""
    into: dict[str, list[str]] = {}
    for name, parameter in taken(family, variant, release).items():
        if "experts" not in parameter:
            into.setdefault(parameter, []).append(name)
    found = {}
    for spellings in into.values():
        ours = [name for name in spellings if name in held]
        theirs = [name for name in spellings if name not in held]
        if len(ours) == 1 and theirs:
            found[ours[0]] = theirs[0]
    return found


def prove(judge: Judge, number: int, seed: int) -> tuple[str, str]:
    """Return what is foretold of the checkpoint of a number, and what the engine does."""
    chance = random.Random(f"{seed}/{number}")  # noqa: S311 - to repeat a checkpoint
    with tempfile.TemporaryDirectory() as scratch:
        drawn, folder = draw(chance, judge), Path(scratch)
        try:
            drawn = make(drawn, folder, judge, chance)
        except (RuntimeError, IndexError) as error:  # matrices too small for the recipe
            return "not forged", type(error).__name__
        said = judge.foretold(folder).partition(":")[0]
        try:
            did = judge.heard(folder)
        except UnknownError as error:
            did = f"{NOT_ASKED}: {error.message}"
    ended = did.partition(":")[0]
    if said not in (ended, "target fails") and ended != NOT_ASKED:
        print(f"{number} {drawn}: foretold {said}, {judge.title} {did}", flush=True)
    return said, ended


def main() -> int:
    """Command line."""
    options = arguments()
    counts: Counter[tuple[str, str]] = Counter()
    with ExitStack() as stack:
        judge = opened(options, stack)
        for number in range(options.first, options.first + options.count):
            counts[prove(judge, number, options.seed)] += 1
    for (said, did), times in sorted(counts.items()):
        print(f"foretold {said}, {judge.title} {did}: {times}")
    false_clean = sum(n for (said, did), n in counts.items() if said == "clean" and did in WRONG)
    print(f"{sum(counts.values())} checkpoints, {false_clean} called clean that are not")
    return 1 if false_clean else 0


def opened(options: argparse.Namespace, stack: ExitStack) -> Judge:
    """Return the engine that is asked for, running until the stack is closed."""
    if options.engine == "sglang":
        return sglang_random.opened(options.release, options.home, stack)
    release = options.release or "0.32.0"
    home = environments.Home(options.home or environments.HOME)
    return VllmJudge(stack.enter_context(home.server(release)), release)


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", choices=("vllm", "sglang"), default="vllm")
    parser.add_argument("--release", help="0.32.0 of vLLM, the newest of SGLang")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, metavar="N", help="begin with this number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", type=Path, help="see environments.py and sglang_environment.py")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
