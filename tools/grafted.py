"""Checks the files of a grafted checkpoint, without the code that grafts.

FP8 and FP4 codes are decoded here by the definitions of the formats, multiplied in FP32 and rounded
to BF16 by integer arithmetic, so that a fault in `mtpfix/grafts/dequantize.py` is not repeated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tools.forge import COPIES
from tools.pairs import INDEX, Pair, expected, same, tensors

BLOCK = 128
"""Rows and columns that share a scale."""
SCALES = ("weight_scale_inv", "weight_scale", "scale")
"""Suffixes of the scales of FP8 codes."""
_BIAS, _MANTISSA, _LOW = 7, 3, 0x7F
_BITS, _FOUR, _EVEN = 4, 0xF, 127

Contents = Mapping[str, torch.Tensor]


def block_faults(pair: Pair, repeated: Collection[str] = ()) -> list[str]:
    """Return how the MTP block in the target differs from the base's.

    Args:
        pair: the pair.
        repeated: tensors that were left out, since the target has the same bytes elsewhere.
    """
    held = tensors(pair.target)
    due = expected(pair)
    faults = [f"{name} was left out" for name in repeated if not _repeats(held, name, due[name])]
    rest = {name: due[name] for name in due if name not in repeated}
    return [*faults, *_block_faults(rest, held, set(pair.modules))]


def _repeats(held: Contents, name: str, tensor: torch.Tensor) -> bool:
    """Return whether the target's own embedding or head is the same as a tensor of the block."""
    originals = (own for end, own in COPIES.items() if name.endswith(end))
    return any(_holds(held, own, tensor) for names in originals for own in names)


def _block_faults(due: Contents, held: Contents, modules: set[str]) -> Iterator[str]:
    known = set()
    for name, tensor in due.items():
        module, _, last = name.rpartition(".")
        scale = next((due[f"{module}.{s}"] for s in SCALES if f"{module}.{s}" in due), None)
        if scale is None or last not in {"weight", *SCALES}:
            known.add(name)
            if not _holds(held, name, tensor):
                yield f"{name} is not bit-equal to the base's"
        elif last == "weight" and name in held and held[name].dtype == torch.bfloat16:
            known.add(name)
            if not same(held[name], converted(tensor, scale)):
                yield f"{name} is not the base's, made BF16 in FP32 and rounded once"
        elif last == "weight" and f"{module}.weight_packed" in held:
            parts = {f"{module}.weight_packed": tensor, f"{module}.weight_scale": scale}
            known |= parts.keys()
            if not all(_holds(held, name, part.view(torch.uint8)) for name, part in parts.items()):
                yield f"{name} and its scale are not bit-equal to the base's"
        elif last == "weight":
            found = [f"{module}.{s}" for s in SCALES if f"{module}.{s}" in held]
            known |= {name, *found}
            forms = (scale, scale[:, None, :, None])  # ModelOpt has one for each side of a block
            scaled = any(_holds(held, s, form) for s in found for form in forms)
            if not _holds(held, name, tensor) or not scaled:
                yield f"{name} and its scale are not bit-equal to the base's"
    extra = {name for name in held if name.rpartition(".")[0] in modules} - known
    yield from (f"{name} is not the base's" for name in sorted(extra))


def _holds(held: Contents, name: str, tensor: torch.Tensor) -> bool:
    return name in held and same(held[name], tensor)


def converted(codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return FP8 codes (E4M3) as BF16, or FP4 codes (E2M1), two in a byte."""
    raw = codes.contiguous().view(torch.uint8).numpy()
    if codes.dtype != torch.float8_e4m3fn:
        powers = 2.0 ** (scale.contiguous().view(torch.uint8).numpy().astype(np.float64) - _EVEN)
        both = np.stack((raw & _FOUR, raw >> _BITS), axis=-1).reshape(raw.shape[0], -1)
        product = _fours()[both] * np.repeat(powers, both.shape[1] // powers.shape[1], axis=1)
        return torch.from_numpy(_rounded(product.astype(np.float32))).view(torch.bfloat16)
    factors = scale.float().numpy()
    rows, columns = (np.arange(size) // BLOCK for size in raw.shape)
    product = _decoded()[raw] * factors[np.ix_(rows, columns)]
    return torch.from_numpy(_rounded(product)).view(torch.bfloat16)


def _fours() -> npt.NDArray[np.float64]:
    """Return the value of each of the 16 codes of E2M1."""
    code = np.arange(16)
    exponent, mantissa = (code >> 1) & 3, code & 1
    value = (mantissa / 2 + (exponent > 0)) * 2.0 ** (np.maximum(exponent, 1) - 1)
    signed: npt.NDArray[np.float64] = np.where(code > 7, -value, value)  # noqa: PLR2004
    return signed


def _decoded() -> npt.NDArray[np.float32]:
    """Return the value of each of the 256 codes."""
    code = np.arange(256)
    exponent, mantissa = (code & _LOW) >> _MANTISSA, code & (2**_MANTISSA - 1)
    fraction = mantissa / 2**_MANTISSA + (exponent > 0)
    value = fraction * 2.0 ** (np.maximum(exponent, 1) - _BIAS)
    value[(code & _LOW) == _LOW] = np.nan
    signed: npt.NDArray[np.float32] = np.where(code > _LOW, -value, value).astype(np.float32)
    return signed


def _rounded(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """Return the bits of the nearest BF16, the even one of two that are as near."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).view(np.int16)


def index_faults(folder: Path) -> list[str]:
    """Return what an index says that its files do not."""
    file = folder / INDEX
    if not file.exists():
        return []
    index = json.loads(file.read_text(encoding="utf-8"))
    held = tensors(folder)
    size = sum(t.numel() * t.element_size() for t in held.values())
    faults = []
    if index["weight_map"].keys() != held.keys():
        faults.append("the index does not name what its files hold")
    if index["metadata"]["total_size"] != size:
        faults.append(f"total_size is {index['metadata']['total_size']}, the tensors take {size}")
    return faults


def contents(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a folder, but for hidden ones and backups."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith(".bak")
    }


def rest_faults(before: Contents, folder: Path) -> list[str]:
    """Return the tensors of a target that are not as they were."""
    held = tensors(folder)
    return [f"{name} has changed" for name in before if not _holds(held, name, before[name])]
