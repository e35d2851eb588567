"""Random checkpoints, judged and then loaded by a real vLLM: is each outcome foretold?

    python -m tools.prove_random --release 0.32.0 --count 500 [--seed 0] [--home DIR]

Each checkpoint draws a family, a recipe of quantization, how the MTP block is stored, an ignore
list, and what is done to the block: nothing, a module under another name that the loader takes,
a tensor that nothing takes, or one that is lost. Prints a line for each outcome that was not
foretold; exits 1 where one was called clean and is not.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from mtpfix import api
from mtpfix.engines.policies import construction
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.live import Server
from mtpfix.errors import MtpfixError, UnknownError
from tools import destinations, environments, schemes, tiny
from tools.forge import NONE, SCHEMES, Mtp, forge
from tools.prove import drafted, outcome
from tools.quantizers import QUANTIZERS

CHANGES = ("none", "none", "respelled", "extra", "lost")
"""What is done to the block; nothing twice as often."""
STORED: tuple[Mtp, ...] = ("bf16", "bf16", "quantized", "mixed")
FORGED = tuple(
    name
    for name in SCHEMES
    if name == NONE or all(part.quantizer in QUANTIZERS for part in schemes.parts(name))
)
"""Recipes that a checkpoint can be forged by."""
LISTS = ("head", "absent", "disk", "asked")


@dataclass(frozen=True)
class Draw:
    """One checkpoint."""

    family: str
    scheme: str
    mtp: Mtp
    listed: str
    change: str
    detail: str = ""

    def __str__(self) -> str:
        """One line that names it."""
        return " ".join((self.family, self.scheme, self.mtp, self.listed, self.change, self.detail))


def draw(chance: random.Random, families: Sequence[str]) -> Draw:
    """A random checkpoint of a family and a recipe that fit each other."""
    while True:
        family, scheme = chance.choice(families), chance.choice(FORGED)
        fits = scheme == NONE or schemes.fits(scheme, family)
        if scheme not in tiny.unfit(family) and fits:
            break
    stored = "bf16" if scheme == NONE else chance.choice(STORED)
    return Draw(family, scheme, stored, chance.choice(LISTS), chance.choice(CHANGES))


def make(drawn: Draw, folder: Path, release: str, chance: random.Random) -> Draw:
    """Writes the checkpoint, and says what was done to its block."""
    variant = tiny.variant(drawn.family, drawn.scheme)
    forged = forge(
        drawn.family,
        folder,
        drawn.scheme,
        variant=variant,
        mtp=drawn.mtp,
        ignore=entries(drawn, variant, release),
        seed=chance.randrange(1 << 16),
    )
    detail = change(drawn, folder, forged.mtp, release, chance)
    return Draw(drawn.family, drawn.scheme, drawn.mtp, drawn.listed, drawn.change, detail)


def entries(drawn: Draw, variant: str, release: str) -> list[str] | None:
    """The ignore list that was drawn."""
    if drawn.listed == "absent":
        return None
    found = ["lm_head"]
    if drawn.listed == "disk":
        stored = tiny.tensors(drawn.family, variant, "draft")
        found += [s.name.removesuffix(".weight") for s in stored if s.matrix]
    if drawn.listed == "asked":
        config = tiny.config(drawn.family, variant)
        known = policy.policy(policy.recognise(config) or "")
        modules = construction.modules(
            known, construction.context(known, config, release, "cuda"), "draft"
        )
        found += [module.name for module in modules if module.asks and module.name]
    return list(dict.fromkeys(found))


def change(
    drawn: Draw,
    folder: Path,
    block: Sequence[str],
    release: str,
    chance: random.Random,
) -> str:
    """Does to the block what was drawn; returns the tensor that it was done to."""
    if drawn.change == "none":
        return ""
    variant = tiny.variant(drawn.family, drawn.scheme)
    path = folder / "model.safetensors"
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    prefixes = destinations.layer_prefixes(drawn.family, variant)
    if drawn.change == "extra":
        name = chance.choice(prefixes or [""]) + chance.choice(destinations.STRANGE)
        if name not in tensors and name not in taken(drawn.family, variant, release):
            size = () if name.endswith("_scale") else (4, 4)
            tensors[name] = next(iter(tensors.values())).new_zeros(size)
    elif drawn.change == "lost":
        name = chance.choice([n for n in block if n in tensors])
        del tensors[name]
    else:
        others = respellings(drawn.family, variant, release, set(tensors))
        if not others:
            return ""
        name = chance.choice(sorted(others))
        tensors[others[name]] = tensors.pop(name)
    save_file({n: t.contiguous() for n, t in tensors.items()}, path, metadata={"format": "pt"})
    return name


@cache
def taken(family: str, variant: str, release: str) -> dict[str, str]:
    """Names that the loader was seen to take, and the parameter that each is loaded into."""
    path = destinations.FOLDER / f"{family}.json"
    rows = json.loads(path.read_text(encoding="utf-8")).get(variant) if path.exists() else None
    order = list(reversed(environments.releases()))
    names = (rows or {"names": {}})["names"].items()
    answers = {name: destinations.spread(found, order).get(release, "") for name, found in names}
    return {name: into for name, into in answers.items() if into and not into.startswith("!")}


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


def foretold(folder: Path, release: str) -> str:
    """The outcome that mtpfix foretells for the draft; `unknown` where it does not judge.

    Where it is the target that fails, nothing is said of the draft, which alone is loaded here.
    """
    try:
        engines = api.inspect(folder, vllm=[release], trunk=True).engines
    except MtpfixError as error:
        return f"unknown: {error}"
    if not engines:
        return "unknown"
    trunk = (m for m in engines[0].modules if m.decision.module.part == "trunk")
    return "target fails" if any(m.consequence for m in trunk) else engines[0].outcome


def heard(server: Server, folder: Path) -> str:
    """What vLLM did; `not asked` where the stand-in for its GPU cannot follow."""
    try:
        return outcome(server.ask(folder, load=True))
    except UnknownError as error:
        return f"not asked: {error.message}"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--release", default="0.32.0", choices=environments.releases())
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", type=Path, default=environments.HOME)
    options = parser.parse_args()
    release: str = options.release
    chance = random.Random(options.seed)  # noqa: S311 - to repeat a run
    families = [family for family in tiny.families() if drafted(family, release)]
    counts: Counter[tuple[str, str]] = Counter()
    with environments.Home(options.home).server(release) as server:
        for number in range(options.count):
            with tempfile.TemporaryDirectory() as scratch:
                drawn = draw(chance, families)
                try:
                    drawn = make(drawn, Path(scratch), release, chance)
                except (RuntimeError, IndexError) as error:  # matrices too small for the recipe
                    counts["not forged", type(error).__name__] += 1
                    continue
                said = foretold(Path(scratch), release).partition(":")[0]
                did = heard(server, Path(scratch))
            ended = did.partition(":")[0]
            counts[said, ended] += 1
            if said not in (ended, "target fails") and ended != "not asked":
                print(f"{number} {drawn}: foretold {said}, vLLM {did}", flush=True)
    for (said, did), times in sorted(counts.items()):
        print(f"foretold {said}, vLLM {did}: {times}")
    wrong = {"load_error", "silent_garbage"}
    false_clean = sum(n for (said, did), n in counts.items() if said == "clean" and did in wrong)
    print(f"{sum(counts.values())} checkpoints, {false_clean} called clean that are not")
    return 1 if false_clean else 0


if __name__ == "__main__":
    sys.exit(main())
