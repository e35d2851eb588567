"""A block of large tensors brought into a new folder: time against a copy, and the peak."""

from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path

from bench import runs
from bench.runs import Contender
from mtpfix.checkpoint.header import parse_header
from mtpfix.checkpoint.source import LocalSource
from tools.sample import Entry, write_shard

FAMILY = "deepseek_v3"

TENSORS, ROWS, COLUMNS = 4, 1 << 17, 1 << 12
"""Tensors that are 1 GB each in BF16, with these rows and columns."""
SHARD = "model.safetensors"
GRAFT = """
import shutil, sys
target, base, out = sys.argv[1:]
shutil.rmtree(out, ignore_errors=True)
from mtpfix.cli import main
from mtpfix.grafts import staging
staging.refuse_broken = lambda findings: None  # holes are no weights
sys.exit(main(["graft", target, "--from", base, "--output", out]))
"""
COPY = """
import shutil, sys
shutil.copyfile(*sys.argv[1:])
"""
HASH = """
import hashlib, sys
with open(sys.argv[1], "rb") as file:
    hashlib.file_digest(file, "sha256")
"""


def large(where: Path, rounds: int) -> str:
    """A base with a block of a few huge tensors, which are holes, and a target without it."""
    base, target, out = (where / f"graft-{name}" for name in ("base", "target", "out"))
    if not target.exists():
        # In a process of its own: what this one holds would count as the peak of its children.
        with get_context("spawn").Pool(1) as pool:
            pool.apply(_write, (base, target))
    size = (base / SHARD).stat().st_size
    block = str(base / SHARD)
    found = runs.in_turn(
        [
            runs.python("copy", COPY, block, str(where / "graft-copy")),
            runs.python("sha256", HASH, block),
            runs.python("import torch", "import torch"),
            Contender(
                "graft --output", (runs.PYTHON, "-c", GRAFT, str(target), str(base), str(out))
            ),
        ],
        rounds,
    )
    title = f"A block of {size / 1e9:.1f} GB, {TENSORS} tensors of 1.07 GB in it"
    return runs.table(title, found, ["copy", "sha256"])


def _write(base: Path, target: Path) -> None:
    """Write a base with huge tensors in its block, and a quantized target without the block."""
    from tools.forge import NONE, forge  # noqa: PLC0415 - it imports torch

    forge(FAMILY, base, NONE)
    block = forge(FAMILY, target, "ct-fp8-channel", ignore=("lm_head",)).mtp
    tensors = _tensors(base)
    matrices = [name for name in block if name.endswith("proj.weight")]
    for name in matrices[:TENSORS]:
        tensors[name] = ("BF16", (ROWS, COLUMNS))
    write_shard(base / SHARD, tensors)
    kept = {name: each for name, each in _tensors(target).items() if name not in block}
    write_shard(target / SHARD, kept)


def _tensors(folder: Path) -> dict[str, Entry]:
    raw, size = LocalSource(folder).read_header(SHARD)
    header = parse_header(raw, data_size=size, file=SHARD)
    return {name: (tensor.dtype, tensor.shape) for name, tensor in header.items()}
