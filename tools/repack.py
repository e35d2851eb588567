"""Packs modules of a forged checkpoint anew, in other bits and groups than the metadata states.

What vLLM does about it rests on sizes alone, so that the new values are random ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from mtpfix.checkpoint.packing import CHANNEL, outputs, packings
from mtpfix.model import Tensor
from tools.quantizers.rounding import GROUP

Packing = tuple[int, int]
"""Bits and group size; `CHANNEL`: one scale a row."""
FORGED: Packing = (4, GROUP)
"""How integers of forged checkpoints are packed."""
_WORD = 32
_WORDS = ("weight_packed", "qweight")


def repack(folder: Path, packing: Packing, chosen: Callable[[str], bool] = lambda _: True) -> None:
    """Pack modules anew that are packed as `FORGED`; they lose the order of activations.

    Args:
        folder: a forged checkpoint in one file.
        packing: the new bits and group size.
        chosen: says of a module on disk whether it is packed anew; without it all are.
    """
    path = folder / "model.safetensors"
    tensors = load_file(path)
    packed = [name.rpartition(".")[0] for name in tensors if name.endswith(_WORDS)]
    for module in filter(chosen, packed):
        own = {n: t for n, t in tensors.items() if n.rpartition(".")[0] == module}
        header = {n.rpartition(".")[2]: Tensor("I32", tuple(t.shape), 0, 0) for n, t in own.items()}
        rows = outputs(header)
        (width,) = {way.width for way in packings(header) if way.fits(*FORGED)}
        assert rows is not None  # noqa: S101 - it is packed
        for suffix, size in sizes(header, (rows, width), packing).items():
            tensors[f"{module}.{suffix}"] = _random(size, own[f"{module}.{suffix}"].dtype)
        tensors.pop(f"{module}.g_idx", None)
    save_file(tensors, path, metadata={"format": "pt"})


def sizes(
    header: dict[str, Tensor], layer: tuple[int, int], packing: Packing
) -> dict[str, tuple[int, int]]:
    """Return the shapes of the tensors of a module, by suffix.

    Args:
        header: its tensors as they are.
        layer: outputs and inputs.
        packing: bits and group size.
    """
    (rows, width), (bits, group) = layer, packing
    groups = 1 if group == CHANNEL else width // group
    if "weight_packed" in header:
        return {"weight_packed": (rows, width * bits // _WORD), "weight_scale": (rows, groups)}
    awq = header["qweight"].shape[0] == width
    return {
        "qweight": (width, rows * bits // _WORD) if awq else (width * bits // _WORD, rows),
        "qzeros": (groups, rows * bits // _WORD),
        "scales": (groups, rows),
    }


def restate(folder: Path, packing: Packing) -> None:
    """Have the metadata state other bits and another group size."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    stated = config["quantization_config"]
    bits, group = packing
    for each in stated.get("config_groups", {}).values():
        kind = {"strategy": "channel"} if group == CHANNEL else {"group_size": group}
        each["weights"] = {**each["weights"], "num_bits": bits, "group_size": None, **kind}
    if "config_groups" not in stated:
        stated.update(bits=bits, group_size=group)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _random(size: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
    if dtype.is_floating_point:
        return torch.rand(size).to(dtype)
    return torch.randint(-(2**31), 2**31 - 1, size, dtype=torch.int64).to(dtype)
