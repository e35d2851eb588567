"""Makes the small checkpoints that the pages of the documentation work on.

    python -m tools.page_samples FOLDER

The weights are random, and layers few; names, dtypes and metadata are those of real ones. Needs
`mtpfix[full]`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from tools.forge import NONE, forge

NAMES = ("base", "lost", "gone", "fp8", "scales", "glm", "next")
"""Their folders: a base model; two quantizations of it without the MTP block; one with the block in
FP8; one whose scales have other names; and drafts that SGLang takes from one list, or from none."""


def make(home: Path) -> None:
    """Make all of them.

    Args:
        home: an existing folder.
    """
    _make_pair(home)
    _make_scales(home / "scales")
    for name, family in (("glm", "glm4_moe"), ("next", "qwen3_next")):
        forge(family, home / name, "ct-fp8-channel", shards=3)


def _make_pair(home: Path) -> None:
    """Make a base, and a quantization of it that lost the MTP block."""
    forge("glm4_moe", home / "base", NONE)
    made = forge("glm4_moe", home / "lost", "ct-w4a16", ignore=["lm_head"])
    shard = home / "lost" / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(shard).items() if name not in made.mtp}
    save_file(kept, shard, metadata={"format": "pt"})
    (home / "lost" / "model.safetensors.index.json").unlink(missing_ok=True)
    shutil.copytree(home / "lost", home / "gone")
    _make_fp8_block(home, kept)


def _make_fp8_block(home: Path, trunk: Mapping[str, Tensor]) -> None:
    """Make the same quantization with its MTP block in FP8, which its metadata do not state."""
    shutil.copytree(home / "lost", home / "fp8")
    made = forge("glm4_moe", home / "other", "ct-fp8-block", mtp="quantized")
    block = load_file(home / "other" / "model.safetensors")
    both = {**trunk, **{name: block[name] for name in made.mtp}}
    save_file(both, home / "fp8" / "model.safetensors", metadata={"format": "pt"})
    shutil.rmtree(home / "other")


def _make_scales(folder: Path) -> None:
    """Make a checkpoint whose MTP block has scales that another library names."""
    block = forge("glm4_moe", folder, "ct-fp8-block", mtp="quantized", shards=3).mtp
    new = {name: f"{name}_inv" for name in block if name.endswith("weight_scale")}
    for shard in folder.glob("*.safetensors"):
        tensors = {new.get(name, name): tensor for name, tensor in load_file(shard).items()}
        save_file(tensors, shard, metadata={"format": "pt"})
    index = folder / "model.safetensors.index.json"
    value = json.loads(index.read_text(encoding="utf-8"))
    value["weight_map"] = {new.get(n, n): shard for n, shard in value["weight_map"].items()}
    index.write_text(json.dumps(value, indent=2), encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    home = parser.parse_args().folder
    taken = [name for name in NAMES if (home / name).exists()]
    if taken:
        raise SystemExit(f"{home} has {', '.join(taken)} already")
    home.mkdir(parents=True, exist_ok=True)
    make(home)
    print(f"made {', '.join(NAMES)} in {home}")


if __name__ == "__main__":
    main()
