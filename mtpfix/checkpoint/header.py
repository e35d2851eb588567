"""Safetensors headers: bytes in, a table of tensors out, nothing taken on trust.

Format: 8 bytes with the header's length N (unsigned, little-endian), N bytes of JSON,
then the data of all tensors without a gap.
Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from math import prod
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING

from mtpfix.checkpoint.strict_json import Pairs, loads, shown, unique
from mtpfix.errors import BrokenFileError
from mtpfix.model import Json, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PREFIX = 8
"""Bytes in front of the header, which hold its length."""

HEADER_LIMIT = 100_000_000
"""Bytes of the longest header that the format's own reader accepts."""

JOURNAL = ".mtpfix-header"
"""Ends the name of the file that holds the header of another while a new one is written over it.

It begins with a dot. Where it is left behind, the header may be torn.
"""

BITS: Mapping[str, int] = MappingProxyType(
    {
        "F4": 4,
        **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
        **dict.fromkeys(("BOOL", "U8", "I8"), 8),
        **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
        **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
        **dict.fromkeys(("U32", "I32", "F32"), 32),
        **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
    }
)
"""Bits of one element, per dtype as the header spells it."""

MAX_DIMS = 64
"""Dimensions that PyTorch can hold."""

_FIELDS = ("dtype", "shape", "data_offsets")
_LFS = b"version "
"""How a Git LFS pointer begins, which a clone without LFS leaves in place of a shard."""
_SPAN = itemgetter(2, 3)
_AGAIN = "Download the file again, or delete it if it is no part of the checkpoint."


def header_length(first8: bytes, file_size: int, *, file: str) -> int:
    """Reads how long the header is.

    Args:
        first8: the first 8 bytes of the file, or all there are.
        file_size: bytes of the whole file.
        file: path inside the repo, for messages.

    Returns:
        Bytes of the header, which begins at byte 8.

    Raises:
        BrokenFileError: too short to be a safetensors file, or the length is impossible.
    """
    if len(first8) < PREFIX or file_size < PREFIX:
        raise _broken(file, f"has {file_size} bytes, too few for a safetensors file")
    if first8 == _LFS:
        raise BrokenFileError(
            f"{shown(file)}: a Git LFS pointer, not the weights", "Fetch them: git lfs pull"
        )
    length = int.from_bytes(first8[:PREFIX], "little")
    if length == 0:
        raise _broken(file, "has an empty header")
    if length > HEADER_LIMIT:
        raise _broken(file, f"claims a header of {length} bytes; {HEADER_LIMIT} are allowed")
    if length > file_size - PREFIX:
        raise _broken(file, f"claims a header of {length} bytes, but has {file_size} in all")
    return length


def parse_header(raw: bytes, *, data_size: int, file: str) -> dict[str, Tensor]:
    """Reads the table of tensors from the bytes of a header.

    Args:
        raw: the header, without the 8 bytes in front of it.
        data_size: bytes of the file behind the header.
        file: path inside the repo, for messages.

    Returns:
        Tensor name -> entry, in the order of the header; `__metadata__` is left out.

    Raises:
        BrokenFileError: not JSON, an entry of another form, or data that overlaps,
            leaves gaps, ends beyond the file or is not of the size of its shape.
    """
    if not raw.startswith(b"{"):
        raise _broken(file, "has a header that does not begin with '{'")
    with _no_collection():
        table = loads(raw, file, hook=_object)
    if type(table) is not dict:
        raise _broken(file, "has a header that is no table of tensors")
    _drop_metadata(table, file)
    for name, entry in table.items():
        fault = _form_fault(entry) or _span_fault(entry, data_size)
        if fault:
            raise _broken(file, f"tensor {shown(name)} {fault}")
    _check_layout(table, data_size, file)
    return table


def _broken(file: str, what: str) -> BrokenFileError:
    return BrokenFileError(f"{shown(file)}: {what}", _AGAIN)


def _object(pairs: Pairs) -> Json:
    """Makes a Tensor of an object that looks like one, at once: no dict or list stays behind."""
    if len(pairs) == 3:  # noqa: PLR2004 - the fields of an entry
        (key1, dtype), (key2, shape), (key3, offsets) = pairs
        if (key1, key2, key3) == _FIELDS and _looks_right(dtype, shape, offsets):
            return tuple.__new__(Tensor, (dtype, tuple(shape), *offsets))  # Tensor() takes longer
    table = unique(pairs)
    if table.keys() >= set(_FIELDS):  # in another order, or with more beside them
        dtype, shape, offsets = map(table.__getitem__, _FIELDS)
        if _looks_right(dtype, shape, offsets):
            return Tensor(dtype, tuple(shape), *offsets)
    return table


def _looks_right(dtype: Json, shape: Json, offsets: Json) -> bool:
    return (
        type(dtype) is str and type(shape) is list and type(offsets) is list and len(offsets) == 2  # noqa: PLR2004
    )


def _drop_metadata(table: dict[str, Json], file: str) -> None:
    metadata = table.pop("__metadata__", None)
    if metadata is None:
        return
    if type(metadata) is not dict or any(type(value) is not str for value in metadata.values()):
        raise _broken(file, "has a __metadata__ that is no table of texts")


@contextmanager
def _no_collection() -> Iterator[None]:
    """Holds the collector of cycles, which a header cannot have: it takes a third of the time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _form_fault(entry: Json) -> str | None:
    """What is wrong with the form of one entry."""
    if type(entry) is not Tensor:
        return "has no entry of the form dtype, shape, data_offsets"
    dtype, shape, begin, end = entry
    if dtype not in BITS:
        return f"has the unknown dtype {shown(dtype)}"
    if len(shape) > MAX_DIMS:
        return f"has {len(shape)} dimensions"
    for number in (begin, end, *shape):
        if type(number) is not int or number < 0:  # True is an int, too
            return "has a shape or data_offsets other than whole numbers from 0 up"
    return None


def _span_fault(entry: Tensor, data_size: int) -> str | None:
    """What is wrong with the place and the size of one entry of the right form."""
    dtype, shape, begin, end = entry
    if begin > end:
        return f"begins at byte {begin} and ends before it, at {end}"
    if end > data_size:
        return f"ends at byte {end} of the data, but the file holds {data_size}: it is cut short"
    if BITS[dtype] * prod(shape) != 8 * (end - begin):
        return f"has {end - begin} bytes, which do not fit {dtype} of shape {list(shape)}"
    return None


def _check_layout(table: Mapping[str, Tensor], data_size: int, file: str) -> None:
    """The spans must cover the data from the first byte to the last, each byte once."""
    covered = 0
    for begin, end in sorted(map(_SPAN, table.values())):
        if begin != covered:
            name = next(name for name, entry in table.items() if _SPAN(entry) == (begin, end))
            where = "overlaps the one before it" if begin < covered else "leaves a gap before it"
            raise _broken(file, f"tensor {shown(name)} {where} (byte {begin} of the data)")
        covered = end
    if covered != data_size:
        raise _broken(file, f"{data_size - covered} bytes at the end belong to no tensor")
