"""Checkpoints of any size: NVFP4 trunk, BF16 MTP block, data as holes.

Names and formats are those of the shipped sample (`tools.sample`), a DeepSeek-V4; the
number of trunk layers makes the size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

from tools import sample
from tools.sample import Entry, Tensors, bf16, dump, nvfp4, write_shard

EXPERTS = 250
"""Routed experts of a layer: with the other weights, the MTP block has 771 tensors."""
PER_LAYER = EXPERTS * 12 + 8 * 4 + 6
"""Tensors of a trunk layer."""


def layer(prefix: str, *, quantized: bool) -> Iterator[tuple[str, Entry]]:
    """The tensors of one decoder layer."""
    linear = nvfp4 if quantized else bf16
    for name in sample.ATTENTION:
        yield from linear(f"{prefix}.attn.{name}")
    for name in ("attn.kv_norm", "attn.q_norm", "attn_norm", "ffn_norm"):
        yield f"{prefix}.{name}.weight", ("BF16", (sample.WIDTH,))
    yield from bf16(f"{prefix}.ffn.gate")
    yield f"{prefix}.ffn.gate.bias", ("F32", (EXPERTS,))
    for name in sample.SHARED:
        yield from linear(f"{prefix}.ffn.shared_experts.{name}")
        for expert in range(EXPERTS):
            yield from linear(f"{prefix}.ffn.experts.{expert}.{name}")


def mtp() -> Tensors:
    """The tensors of the MTP block."""
    tensors: Tensors = dict(layer("mtp.0", quantized=False))
    for name in ("e_proj", "h_proj", "emb.tok_emb", "head"):
        tensors.update(bf16(f"mtp.0.{name}"))
    for name in ("enorm", "hnorm", "norm"):
        tensors[f"mtp.0.{name}.weight"] = ("BF16", (sample.WIDTH,))
    return tensors


def checkpoint(folder: Path, tensors: int, shards: int, *, mtp_shards: int = 1) -> int:
    """Writes a checkpoint, unless it is there; returns its number of tensors.

    Args:
        folder: where to.
        tensors: about how many it is to have.
        shards: number of files.
        mtp_shards: how many of them hold the MTP block.
    """
    layers = max(1, round(tensors / PER_LAYER))
    if not folder.exists():
        # In a process of its own: what this one holds would count as the peak of its children.
        with get_context("spawn").Pool(1) as pool:
            pool.apply(_write, (folder, layers, shards, mtp_shards))
    return layers * PER_LAYER + len(mtp()) + 3


def _write(folder: Path, layers: int, shards: int, mtp_shards: int) -> None:
    folder.mkdir(parents=True)
    trunk = [item for number in range(layers) for item in layer(f"layers.{number}", quantized=True)]
    trunk += [*bf16("embed"), *bf16("head"), ("norm.weight", ("BF16", (sample.WIDTH,)))]
    parts = [*_cut(trunk, shards - mtp_shards), *_cut(list(mtp().items()), mtp_shards)]
    weight_map = {}
    for number, part in enumerate(parts, 1):
        name = f"model-{number:05}-of-{shards:05}.safetensors"
        write_shard(folder / name, dict(part))
        weight_map.update(dict.fromkeys(dict(part), name))
    dump(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    dump(folder / "config.json", config(layers))


def _cut(items: list[tuple[str, Entry]], pieces: int) -> Iterator[list[tuple[str, Entry]]]:
    size = math.ceil(len(items) / pieces)
    return (items[begin : begin + size] for begin in range(0, len(items), size))


def config(layers: int) -> dict[str, object]:
    """`config.json`: NVFP4 everywhere, and a list whose author took names from the module tree."""
    found = sample.config()
    group = {**found["quantization_config"]["config_groups"]["group_0"], "targets": ["Linear"]}
    found["quantization_config"] |= {
        "format": "nvfp4-pack-quantized",
        "config_groups": {"group_0": group},
    }
    return found | {
        "num_hidden_layers": layers,
        "n_routed_experts": EXPERTS,
        "compress_ratios": [128] * layers + [0],
    }
