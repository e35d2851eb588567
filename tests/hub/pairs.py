"""A base with an MTP block and its quantization without one, as repos of the loopback Hub.

They are DeepSeek-V4s of the shipped sample (`tools.sample`). The trunk is zeros, which take no
memory; the block holds small numbers, so that a byte in the wrong place is found.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

from tests.hub.repos import MAIN, Repo, Sparse, sparse
from tests.hub.server import Hub
from tools import sample
from tools.sample import BYTES, Entry, Tensors

BASE, TARGET = "org/base", "org/quantized"
INDEX = "model.safetensors.index.json"
ALONE = "mtp.safetensors"
SHARD, MANIFEST = "model-mtp.safetensors", "model-mtp.manifest.json"
"""What a graft adds."""
FIRST = 8
"""Bytes in front of a header."""


@dataclass(frozen=True)
class Pair:
    """Two repos.

    Attributes:
        base: with a block.
        target: without.
        block: the bytes of each tensor of the block.
    """

    base: Repo
    target: Repo
    block: Mapping[str, bytes]

    @property
    def size(self) -> int:
        """Bytes of the block."""
        return sum(map(len, self.block.values()))

    def files(self, revision: str = MAIN) -> dict[str, Sparse]:
        """The files of the target."""
        return self.target.commits[str(self.target.resolve(revision))]


@dataclass(frozen=True)
class Shape:
    """How large a base is, and how it is cut.

    Attributes:
        width: rows and columns of every matrix.
        layers: of the trunk.
        shards: files of the base.
        spread: how many of them hold the block; 0: it has a file of its own, `ALONE`.
        fp8: whether the block is FP8 with a scale a tile.
    """

    width: int = sample.WIDTH
    layers: int = 4
    shards: int = 4
    spread: int = 2
    fp8: bool = False


def pair(hub: Hub, shape: Shape = Shape()) -> Pair:
    """Put both on the Hub."""
    block = block_of(shape)
    base, target = hub.repos.setdefault(BASE, Repo()), hub.repos.setdefault(TARGET, Repo())
    base.commit(base_files(shape, block))
    target.commit(target_files(shape))
    return Pair(base, target, block)


def block_of(shape: Shape) -> dict[str, bytes]:
    """The bytes of each tensor of the block."""
    return {name: data_of(name, *entry) for name, entry in mtp_of(shape).items()}


def mtp_of(shape: Shape) -> Tensors:
    """The tensors of the block."""
    found: Tensors = {}
    for name, (dtype, sides) in sized(sample.mtp(), shape.width).items():
        linear = any(part in name for part in (".attn.w", ".ffn.experts.", ".ffn.shared"))
        found[name] = ("F8_E4M3" if shape.fp8 and linear else dtype, sides)
        if shape.fp8 and linear:
            found[f"{name}_scale_inv"] = ("F32", (2, 2))
    return found


def base_files(shape: Shape, block: Mapping[str, bytes]) -> dict[str, Sparse]:
    """The files of the base."""
    parts = cut(sized(trunk(shape.layers, quantized=False), shape.width), shape.shards)
    mtp = mtp_of(shape)
    for number, some in enumerate(cut(mtp, shape.spread) if shape.spread else ()):
        parts[(number + 1) * (shape.shards // shape.spread) - 1].update(some)
    every = named(parts) if shape.spread else named(parts) | {ALONE: mtp}
    config = config_of(shape)
    del config["quantization_config"]
    return indexed(every, block) | {"config.json": document(config)}


def target_files(shape: Shape) -> dict[str, Sparse]:
    """The files of the target."""
    parts = cut(sized(trunk(shape.layers, quantized=True), shape.width), 4)
    return indexed(named(parts), {}) | {"config.json": document(config_of(shape))}


def config_of(shape: Shape) -> dict[str, Any]:
    """`config.json` of the target."""
    config = sample.config()
    ratios = config["compress_ratios"][: shape.layers]
    return config | {"num_hidden_layers": shape.layers, "compress_ratios": [*ratios, 0]}


def trunk(layers: int, *, quantized: bool) -> Tensors:
    """The tensors of a target model."""
    tensors: Tensors = {**dict(sample.bf16("embed")), **dict(sample.bf16("head"))}
    tensors["norm.weight"] = ("BF16", (sample.WIDTH,))
    for index in range(layers):
        indexer = index % 2 == 0
        tensors |= dict(sample.layer(f"layers.{index}", quantized=quantized, indexer=indexer))
    return tensors


def sized(tensors: Tensors, width: int) -> Tensors:
    """The same tensors with other sides; wider matrices have more blocks."""
    sides = {sample.WIDTH // part: width // part for part in (1, 2, 16)}
    blocks = (2, -(-width // sample.BLOCK))
    return {
        name: (
            dtype,
            blocks
            if shape == (2, 1)
            else tuple(sides.get(side, side) if side > 2 else side for side in shape),
        )
        for name, (dtype, shape) in tensors.items()
    }


def data_of(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    """Small numbers of both signs, always the same for one name."""
    size = BYTES[dtype]
    count = prod(shape)
    data = bytearray(count * size)
    drawn = random.Random(name).randbytes(count)  # noqa: S311 - no secret
    data[size - 1 :: size] = drawn.translate(bytes(0x3C | byte & 0x80 for byte in range(256)))
    if size > 1:
        data[size - 2 :: size] = drawn
    return bytes(data)


def cut(tensors: Mapping[str, Entry], count: int) -> list[Tensors]:
    """Some shards."""
    items, size = list(tensors.items()), len(tensors)
    ends = [number * size // count for number in range(count + 1)]
    return [dict(items[begin:end]) for begin, end in pairwise(ends)]


def named(parts: Iterable[Tensors]) -> dict[str, Tensors]:
    """Shards by the names that files have."""
    every = list(parts)
    return {
        f"model-{number:05}-of-{len(every):05}.safetensors": part
        for number, part in enumerate(every, 1)
    }


def indexed(shards: Mapping[str, Tensors], block: Mapping[str, bytes]) -> dict[str, Sparse]:
    """Shards, and their index."""
    files = {name: shard(tensors, block) for name, tensors in shards.items()}
    weight_map = {name: file for file, tensors in shards.items() for name in tensors}
    size = sum(data_size(tensors) for tensors in shards.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    return files | {INDEX: document(index)}


def data_size(tensors: Tensors) -> int:
    """Bytes of some tensors."""
    return sum(BYTES[dtype] * prod(shape) for dtype, shape in tensors.values())


def shard(tensors: Tensors, block: Mapping[str, bytes]) -> Sparse:
    """A safetensors file: wide elements first, then the block, and zeros where it does not say."""
    ordered = sorted(tensors, key=lambda n: (-BYTES[tensors[n][0]], n not in block, n))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data, begin = bytearray(), 0
    for name in ordered:
        dtype, shape = tensors[name]
        end = begin + BYTES[dtype] * prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
        if name in block:
            data += bytes(begin - len(data)) + block[name]
        begin = end
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return Sparse(struct.pack("<Q", len(raw)) + raw + data, FIRST + len(raw) + begin)


def document(value: Mapping[str, Any]) -> Sparse:
    """A JSON file."""
    return sparse(json.dumps(value, indent=2).encode() + b"\n")


def header_of(file: Sparse) -> tuple[int, dict[str, Any]]:
    """The byte at which the data of a safetensors file begin, and its tensors."""
    start = FIRST + int.from_bytes(file.head[:FIRST], "little")
    header = json.loads(file.head[FIRST:start])
    header.pop("__metadata__", None)
    return start, header


def tensors_of(file: Sparse) -> dict[str, bytes]:
    """The bytes of each tensor of a file that is small."""
    whole = b"".join(file.cut(0, file.size))
    start, header = header_of(file)
    return {
        name: whole[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]]
        for name, entry in header.items()
    }


def sha256(data: bytes) -> str:
    """The hash that a manifest gives."""
    return hashlib.sha256(data).hexdigest()


def write(folder: Path, files: Mapping[str, Sparse]) -> Path:
    """The files of a repo in a folder; zeros at their end are holes."""
    folder.mkdir(parents=True)
    for name, file in files.items():
        with (folder / name).open("wb") as to:
            to.write(file.head)
            to.truncate(file.size)
    return folder
