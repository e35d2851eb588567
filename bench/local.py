"""A folder of this machine: one large checkpoint, growth, and the start of the program."""

from __future__ import annotations

from pathlib import Path

from bench import data, runs
from bench.runs import Contender, Run
from tests.cases.materialise import CASES, materialise

FLOOR = """
import json, sys
json.load(open(sys.argv[1] + "/model.safetensors.index.json"))["weight_map"]
"""
HUGGINGFACE_HUB = """
import sys
from huggingface_hub import get_local_safetensors_metadata
get_local_safetensors_metadata(sys.argv[1])
"""
SAFE_OPEN = """
import glob, sys
from safetensors import safe_open
for path in glob.glob(sys.argv[1] + "/*.safetensors"):
    with safe_open(path, "numpy") as file:
        for name in file.keys():
            part = file.get_slice(name)
            part.get_dtype(), part.get_shape()
"""
SAMPLE = Path(__file__).parent.parent / "examples" / "deepseek-v4-like"
SLOWEST = CASES / "glm52-awq-cyankiwi" / "fp8-delta"
LARGE = 281_000
SHARDS = (64, 160)
GROWTH = (35_000, 70_000, 140_000, 281_000, 562_000)


def contenders(folder: str) -> list[Contender]:
    """All that read one folder."""
    return [
        runs.python("index alone", FLOOR, folder),
        runs.python("huggingface_hub", HUGGINGFACE_HUB, folder),
        runs.python("safe_open", SAFE_OPEN, folder),
        runs.mtpfix("check", "check", folder),
        runs.mtpfix("check --vllm all", "check", folder, "--vllm", "all"),
        runs.mtpfix("rewrite (one release)", "rewrite", folder, "--vllm", "newest"),
    ]


def large(where: Path, rounds: int) -> str:
    """One large checkpoint in few and in many shards."""
    pages = []
    for shards in SHARDS:
        folder = where / f"large-{shards}"
        tensors = data.checkpoint(folder, LARGE, shards)
        found = runs.in_turn(contenders(str(folder)), rounds)
        title = f"{tensors:,} tensors in {shards} shards"
        pages.append(runs.table(title, found, ["index alone", "huggingface_hub", "check"]))
    return "\n".join(pages)


def repairs(where: Path, rounds: int) -> str:
    """What a plan takes: of README's sample, and of the public case that takes longest."""
    slow = where / "slowest"
    if not slow.exists():
        materialise(SLOWEST, slow)
    every = ("--vllm", "all", "--sglang", "all", "--platform", "all")
    found = runs.in_turn(
        [
            runs.mtpfix("check", "check", str(SAMPLE)),
            runs.mtpfix("check --format json", "check", "--format", "json", str(SAMPLE)),
            runs.mtpfix("check --fixes", "check", "--fixes", "--format", "json", str(SAMPLE)),
            runs.mtpfix("rewrite", "rewrite", str(SAMPLE)),
            runs.mtpfix("rewrite, slowest case", "rewrite", str(slow), *every, codes=(0, 1, 3)),
        ],
        rounds,
    )
    return runs.table("Repairs: all releases of both engines", found, ["check"])


def growth(where: Path, rounds: int) -> str:
    """Time and memory of `check` by the number of tensors, and their slope."""
    sizes: list[int] = []
    found: list[Run] = []
    for tensors in GROWTH:
        folder = where / f"growth-{tensors}"
        sizes.append(data.checkpoint(folder, tensors, 64))
        check = runs.mtpfix("check", "check", str(folder))
        found.append(runs.in_turn([check], rounds)["check"])
    lines = [
        "### Growth of `check`",
        "",
        "| tensors | wall s | peak MB |",
        "| ---: | ---: | ---: |",
    ]
    for size, run in zip(sizes, found, strict=True):
        lines.append(f"| {size:,} | {run.wall:.2f} | {run.peak:.0f} |")
    seconds = _slope(sizes, [run.wall for run in found])
    memory = _slope(sizes, [run.peak for run in found])
    lines += ["", f"Slope: {seconds * 1e5:.3f} s and {memory * 1e5:.1f} MB for 100,000 tensors."]
    return "\n".join(lines) + "\n"


def _slope(xs: list[int], ys: list[float]) -> float:
    """Least squares."""
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True))
    return above / sum((a - x) ** 2 for a in xs)


def start(_where: Path, rounds: int) -> str:
    """What it takes to say something without a checkpoint."""
    found = runs.in_turn(
        [
            runs.python("import typer, rich", "import typer, rich"),
            runs.mtpfix("--version", "--version"),
            runs.mtpfix("--help", "--help"),
        ],
        rounds * 2,
    )
    return runs.table("Start-up", found, ["import typer, rich"])
