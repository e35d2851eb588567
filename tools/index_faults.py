"""Ways in which an index and its shards come to disagree about an MTP block.

Each spoils a checkpoint of three shards, the block in the last (`tools.forge`, `shards=3`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

INDEX = "model.safetensors.index.json"
CONSOLIDATED = "consolidated.safetensors.index.json"
ONE, TWO, BLOCK = (f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3))
SINGLE = "model.safetensors"

Fault = Callable[[Path, tuple[str, ...]], None]
"""Spoils a folder, given the names of the tensors of its MTP block."""


def index(folder: Path, file: str = INDEX) -> dict[str, Any]:
    """Return what an index says."""
    found: dict[str, Any] = json.loads((folder / file).read_text(encoding="utf-8"))
    return found


def write_index(folder: Path, shards: Mapping[str, str], file: str = INDEX) -> None:
    """Write an index, its size that of the tensors that it names."""
    held = {n: t for path in folder.glob("*.safetensors") for n, t in load_file(path).items()}
    size = sum(held[name].nbytes for name in shards if name in held)
    document = {"metadata": {"total_size": size}, "weight_map": dict(shards)}
    (folder / file).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _shards(folder: Path) -> dict[str, str]:
    found: dict[str, str] = index(folder)["weight_map"]
    return found


def _without(shards: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    gone = set(names)
    return {name: shard for name, shard in shards.items() if name not in gone}


def _edit(folder: Path, file: str, tensors: Mapping[str, torch.Tensor]) -> None:
    save_file({**load_file(folder / file), **tensors}, folder / file, {"format": "pt"})


def _merge(folder: Path, into: str, files: Iterable[str]) -> None:
    tensors = {name: t for file in files for name, t in load_file(folder / file).items()}
    save_file(tensors, folder / into, {"format": "pt"})


def _matrix(folder: Path, block: tuple[str, ...]) -> tuple[str, torch.Tensor]:
    """Return a matrix of the block."""
    tensors = load_file(folder / BLOCK)
    name = next(name for name in block if name.endswith("o_proj.weight"))
    return name, tensors[name]


# --- what an edit of the index puts right ----------------------------------------------


def unnamed(folder: Path, block: tuple[str, ...]) -> None:
    """Take the shard of the block out of the index."""
    write_index(folder, _without(_shards(folder), block))


def part_unnamed(folder: Path, block: tuple[str, ...]) -> None:
    """Leave the names of some tensors in a shard that is named."""
    write_index(folder, _without(_shards(folder), block[3:]))


def wrong_shard(folder: Path, block: tuple[str, ...]) -> None:
    """Say of the whole block that it is in another shard: nothing names its own."""
    write_index(folder, {**_shards(folder), **dict.fromkeys(block, ONE)})


def wrong_shard_for_some(folder: Path, block: tuple[str, ...]) -> None:
    """Say of some tensors that they are in another shard."""
    write_index(folder, {**_shards(folder), **dict.fromkeys(block[:3], ONE)})


def stale_name(folder: Path, block: tuple[str, ...]) -> None:
    """Name a tensor that was saved under another name since."""
    write_index(folder, {**_shards(folder), f"{block[0]}_old": BLOCK})


def renamed_file(folder: Path, block: tuple[str, ...]) -> None:
    """Rename the shard of the block, and leave the index as it is."""
    del block
    (folder / BLOCK).rename(folder / "mtp.safetensors")


def single_file(folder: Path, block: tuple[str, ...]) -> None:
    """Call the file of the block `model.safetensors`, beside an index without it."""
    unnamed(folder, block)
    (folder / BLOCK).rename(folder / SINGLE)


def block_alone(folder: Path, block: tuple[str, ...]) -> None:
    """Have an index for the block, and the target model in a single file beside it."""
    _merge(folder, SINGLE, (ONE, TWO))
    write_index(folder, dict.fromkeys(block, BLOCK))
    for file in (ONE, TWO):
        (folder / file).unlink()


def consolidated_unnamed(folder: Path, block: tuple[str, ...]) -> None:
    """Have vLLM's other format, its index without the block."""
    _merge(folder, "consolidated-1.safetensors", (ONE, TWO))
    (folder / BLOCK).rename(folder / "consolidated-mtp.safetensors")
    rest = _without(_shards(folder), block)
    write_index(folder, dict.fromkeys(rest, "consolidated-1.safetensors"), CONSOLIDATED)
    for file in (ONE, TWO, INDEX):
        (folder / file).unlink()


# --- what needs weights moved, or other flags ------------------------------------------


def whole_single_file(folder: Path, block: tuple[str, ...]) -> None:
    """Have the block in a file of the whole model alone, beside shards of the target model."""
    unnamed(folder, block)
    _merge(folder, SINGLE, (ONE, TWO, BLOCK))
    (folder / BLOCK).unlink()


def leftover(folder: Path, block: tuple[str, ...]) -> None:
    """Have the whole model twice, once as a single file."""
    del block
    _merge(folder, SINGLE, (ONE, TWO, BLOCK))


def two_blocks(folder: Path, block: tuple[str, ...]) -> None:
    """Have two files with the block, neither of them named."""
    unnamed(folder, block)
    (folder / "mtp.safetensors").write_bytes((folder / BLOCK).read_bytes())


def stray_scale(folder: Path, block: tuple[str, ...]) -> None:
    """Leave the scale of an older, quantized block in the shard, not named."""
    name, _ = _matrix(folder, block)
    _edit(folder, BLOCK, {f"{name}_scale_inv": torch.ones(1, 1)})


def doubled(folder: Path, block: tuple[str, ...]) -> None:
    """Have other bytes of a tensor in a shard that is named for another part of the block."""
    name, tensor = _matrix(folder, block)
    moved = next(each for each in block if each.endswith("eh_proj.weight"))
    _edit(folder, TWO, {name: tensor + 1, moved: load_file(folder / BLOCK)[moved]})
    rest = load_file(folder / BLOCK)
    del rest[moved]
    save_file(rest, folder / BLOCK, {"format": "pt"})
    write_index(folder, {**_shards(folder), moved: TWO})


def lost_tensor(folder: Path, block: tuple[str, ...]) -> None:
    """Lose a tensor that the index names."""
    name, _ = _matrix(folder, block)
    tensors = load_file(folder / BLOCK)
    del tensors[name]
    save_file(tensors, folder / BLOCK, {"format": "pt"})


def lost_file(folder: Path, block: tuple[str, ...]) -> None:
    """Lose the shard of the block."""
    del block
    (folder / BLOCK).unlink()


def other_format(folder: Path, block: tuple[str, ...]) -> None:
    """Have the target model in vLLM's other format too."""
    del block
    _merge(folder, "consolidated.safetensors", (ONE, TWO))


MENDED: dict[str, Fault] = {
    "unnamed": unnamed,
    "part-unnamed": part_unnamed,
    "wrong-shard": wrong_shard,
    "wrong-shard-for-some": wrong_shard_for_some,
    "stale-name": stale_name,
    "renamed-file": renamed_file,
    "single-file": single_file,
    "block-alone": block_alone,
    "consolidated-unnamed": consolidated_unnamed,
}
"""Faults that an edit of the index puts right."""
REFUSED: dict[str, Fault] = {
    "whole-single-file": whole_single_file,
    "leftover": leftover,
    "two-blocks": two_blocks,
    "stray-scale": stray_scale,
    "doubled": doubled,
    "lost-tensor": lost_tensor,
    "lost-file": lost_file,
    "other-format": other_format,
}
"""Faults that no edit of the index puts right."""
