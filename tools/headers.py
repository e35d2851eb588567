"""Safetensors files that hold nothing but a header: for engines that read them in place of a list.

A question of the recorder whose name begins with `headers:` is asked about a folder with such a
file: the trunk stored in words of 32 bits, the MTP block as the rest of the name says.
"""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING

from mtpfix.model import Checkpoint, Listing, Target, Tensor
from tools import tiny

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARK = "headers:"
FILE = "model.safetensors"
_DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32", "int64": "I64", "int32": "I32"}
_BYTES = {"BF16": 2, "F16": 2, "F32": 4, "I64": 8, "I32": 4}
_SMALL = (".in_proj_a.weight", ".in_proj_b.weight")
"""Ends of weights that are too small for a word, which no recipe quantizes."""


def wanted(question: str) -> str | None:
    """How a question has the MTP block stored; None where it is about no headers."""
    return question.removeprefix(MARK) if question.startswith(MARK) else None


def tensors(family: str, variant: str, method: str, mtp: str) -> dict[str, Tensor]:
    """Every tensor of a checkpoint.

    Args:
        family: a tiny model (`tools.tiny`).
        variant: one of its variants.
        method: `gptq` has `g_idx` beside the words, others have not.
        mtp: how the block is stored: `bf16`, `quantized`, or `mixed`, the MLP or the experts alone.
    """
    found: dict[str, Tensor] = {}
    trunk = tiny.tensors(family, variant, "trunk")
    own = {stored.name for stored in trunk}
    draft = [s for s in tiny.tensors(family, variant, "draft") if s.name not in own]
    for stored in (*trunk, *draft):
        quantized = stored.quantizable and not stored.name.endswith(_SMALL)
        if stored.name not in own:
            quantized &= mtp == "quantized" or (mtp == "mixed" and ".mlp." in stored.name)
        dtypes = _words(method) if quantized else {"": _DTYPES[stored.dtype]}
        module = stored.name.removesuffix(".weight")
        for last, dtype in dtypes.items():
            name = f"{module}.{last}" if last else stored.name
            found[name] = Tensor(dtype, stored.shape, 0, 0)
    return found


def _words(method: str) -> dict[str, str]:
    words = {"qweight": "I32", "qzeros": "I32", "scales": "BF16"}
    return {**words, "g_idx": "I32"} if method == "gptq" else words


def place(folder: Path, header: dict[str, Tensor] | None) -> None:
    """Leaves a file with this header in a folder, its data never written; None: no file."""
    path = folder / FILE
    path.unlink(missing_ok=True)
    if header is None:
        return
    text = json.dumps(dict(_rows(header))).encode()
    text += b" " * (-len(text) % 8)
    size = sum(_BYTES[tensor.dtype] * prod(tensor.shape) for tensor in header.values())
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size)


def _rows(header: dict[str, Tensor]) -> Iterator[tuple[str, object]]:
    at = 0
    for name, tensor in header.items():
        end = at + _BYTES[tensor.dtype] * prod(tensor.shape)
        yield name, {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [at, end]}
        at = end


def checkpoint(header: dict[str, Tensor]) -> Checkpoint:
    """What mtpfix would read of such a folder."""
    listing = Listing(Target("local", ""), (FILE,), {}, dict.fromkeys(header, FILE), "headers")
    return Checkpoint(listing, {FILE: header})
