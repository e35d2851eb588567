"""Lists that nobody should write, made by chance: what a real vLLM builds under them, and we say.

    python -m tools.hostile --release 0.32.0 [--family mimo ...] [--lists 40] [--seed 1]

ModelOpt alone: its entries are names, parts of names and wildcards at once. Prints every decision
that mtpfix predicts otherwise; exits 1 if there is one. The lists are the same for the same seed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from mtpfix.engines.vllm.live import Server
from tools import environments, mixtures, record, recording, tiny
from tools.agreement import compared
from tools.recording import Recorder, Unquantized, Variant

METHOD = "modelopt"
FAMILIES = ("mimo", "glm4_moe", "qwen3_5")
SCHEMES = ("modelopt-fp8", "modelopt-nvfp4", "modelopt-mixed")
MOST = 5
"""Entries of a list."""


def entries(chosen: random.Random, names: Sequence[str]) -> list[str]:
    """A list of entries about some of `names`."""
    return [_entry(chosen, chosen.choice(names)) for _ in range(chosen.randint(0, MOST))]


def _entry(chosen: random.Random, name: str) -> str:
    parts = name.split(".")
    start = ".".join(parts[: chosen.randint(1, len(parts))])
    end = ".".join(parts[chosen.randrange(len(parts)) :])
    at, to = sorted(chosen.randrange(len(name) + 1) for _ in range(2))
    letter = chosen.randrange(len(name))
    return chosen.choice(
        (
            name,
            name,
            start,
            f"{start}.",
            f"{start}*",
            f"{start}.*",
            f"{start}**",
            f"*{end}",
            f"*.{end}",
            f"*{end}*",
            end,
            name[at:to],
            f"{name[:at]}*{name[to:]}",
            f"{name[:letter]}?{name[letter + 1 :]}",
            f"{name[:letter]}[{name[letter]}x]{name[letter + 1 :]}",
            f"{name[:letter]}[!{name[letter]}]{name[letter + 1 :]}",
            f"[{name[0]}]{name[1:]}",
            name.upper(),
            f" {name}",
            f"{name}.weight",
            f"re:{start}.*",
            f"language_model.{name}",
            name.replace("model.", "model.language_model.", 1),
            name.removeprefix("model."),
            name.replace("layers.", "layers.1"),
            *("", "*", "?", "[", "[]", "[!]", "]", ".", "lm_head", "experts", "*[0-9]*", "\\"),
        )
    )


def layers(chosen: random.Random, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Algorithms for some layers, in many spellings; one at least."""
    found = {_entry(chosen, chosen.choice(names)) for _ in range(chosen.randint(1, 3 * MOST))}
    return {name: {"quant_algo": chosen.choice(mixtures.ALGORITHMS)} for name in sorted(found)}


def questions(
    scheme: str, names: Sequence[str], seed: int, number: int
) -> Iterator[tuple[str, Unquantized]]:
    """The lists for one scheme, by name."""
    chosen = random.Random(f"{scheme} {seed}")  # noqa: S311 - not for secrets
    for i in range(number):
        keys: dict[str, object] = {"ignore": entries(chosen, names)}
        if scheme == SCHEMES[-1]:
            keys["quantized_layers"] = layers(chosen, names)
        yield f"{scheme} {i}", keys


def asked(server: Server, family: str, number: int, seed: int, scratch: Path) -> Recorder:
    """What vLLM builds for one family under all lists."""
    config = tiny.config(family)
    recorder = Recorder(family, record.schemes(METHOD), command="python -m tools.hostile")
    first = record.ask(server, scratch, config)
    found = record.names_of(family, tiny.BASE, record.ask(server, scratch, _plain(config)))
    names = sorted({*found.linears, *found.experts, *found.disk, *found.trunk})
    recorder.patches = [patch for patch in first.patches if patch not in server.patches]
    table = recorder.variants[tiny.BASE] = Variant(config)
    for scheme in SCHEMES:
        for name, keys in questions(scheme, names, seed, number):
            table.ignores[name] = keys
            changed = recording.with_quantization(config, recorder.schemes[scheme], keys)
            recorder.add(tiny.BASE, scheme, name, record.ask(server, scratch, changed))
    return recorder


def _plain(config: tiny.Config) -> tiny.Config:
    scheme = record.schemes(recording.MAIN)[record.MAIN]
    return recording.with_quantization(config, scheme, ["lm_head"])


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--release", default="0.32.0", choices=environments.releases())
    parser.add_argument("--family", action="append", choices=tiny.families())
    parser.add_argument("--lists", type=int, default=30, help="for each family and scheme")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--home", type=Path, default=environments.HOME)
    options = parser.parse_args()
    wrong = 0
    with (
        tempfile.TemporaryDirectory() as scratch,
        environments.Home(options.home).server(options.release) as server,
    ):
        folder = Path(scratch)
        recording.write_release(folder, options.release, {"patches": list(server.patches)}, {})
        for family in options.family or FAMILIES:
            made = asked(server, family, options.lists, options.seed, folder)
            made.write(folder / f"{family}+{METHOD}.json")
            found = compared(folder / f"{family}+{METHOD}.json")
            wrong += len(found.examples)
            print(f"{family}: {found.cases} lists, {found.decisions} decisions", flush=True)
            print("".join(f"  {text}\n" for text in found.examples), end="", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
