"""Makes the summary of a tensor while its bytes pass: once, in order, in pieces of any length.

Of a dtype of 8 bits the codes are counted, and all else follows from 256 numbers. Longer floats are
looked at as the integers that their bits are: without its sign bit, a greater integer is a greater
magnitude, so that bounds, zeros, infinities and subnormals need no arithmetic. Only the means do.

torch is imported with the first bytes, and never by an import of this module. It runs in two
threads of our own, each with one half and none of torch's: where other work goes on, its own
threads wait for each other and take ten times as long.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mtpfix.errors import FULL_INSTALL, UnknownError
from mtpfix.values.moments import Moments
from mtpfix.values.octets import of_histogram

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mtpfix.model import Tensor
    from mtpfix.values.summary import Summary

STEP = 1 << 20
"""Bytes that are looked at together: what is made of them stays in the caches of a processor."""

_INLINE = 1 << 15
"""Bytes below which no thread is worth it; torch takes none of its own for as many elements."""


class Scan:
    """The values of one tensor, in one pass and in constant memory.

    Feed all bytes of the tensor in order, then ask for the summary. Many may be under way at once;
    each holds at most `STEP` bytes.

    Args:
        tensor: its entry in the header; of a part of a tensor, one with the offsets of the part.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._dtype = tensor.dtype
        self._left = tensor.end - tensor.begin
        self._buffer = bytearray()
        self._filled = 0
        self._moments = Moments()
        self._histogram = [0] * 256

    def feed(self, piece: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the tensor.

        Raises:
            ValueError: they are more than the tensor has.
            UnknownError: torch is not installed.
        """
        view = memoryview(piece).cast("B")
        if len(view) > self._left:
            raise ValueError(f"{len(view)} bytes where the tensor has {self._left} left")
        if not self._buffer and len(view):
            self._buffer = bytearray(min(STEP, self._left))
        self._left -= len(view)
        while view:
            part = view[: len(self._buffer) - self._filled]
            self._buffer[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            view = view[len(part) :]
            if self._filled == len(self._buffer):
                self._look()

    def summary(self) -> Summary:
        """Return what the values are, after the last byte.

        Raises:
            ValueError: bytes of the tensor have not been fed.
        """
        if self._left:
            raise ValueError(f"{self._left} bytes of the tensor are missing")
        self._look()
        self._buffer = bytearray()
        if self._dtype in _FLOATS or self._dtype in _WORDS:
            return self._moments.summary(self._dtype)
        return of_histogram(self._dtype, self._histogram)

    def _look(self) -> None:
        """Add what is buffered, which is a whole number of elements."""
        if not self._filled:
            return
        torch = torch_module()
        raw = torch.frombuffer(self._buffer, dtype=torch.uint8, count=self._filled)
        self._filled = 0
        if raw.numel() <= _INLINE:
            self._join(self._seen(raw))
            return
        half = raw.numel() // 16 * 8  # of whole elements
        for seen in _pool().map(self._seen, (raw[:half], raw[half:])):
            self._join(seen)

    def _seen(self, raw: Any) -> Moments | list[int]:
        """Return what some bytes hold."""
        if self._dtype in _FLOATS:
            return _floats(_FLOATS[self._dtype], raw)
        if self._dtype in _WORDS:
            return _words(_WORDS[self._dtype], raw)
        counts: list[int] = torch_module().bincount(raw, minlength=256).tolist()
        return counts

    def _join(self, seen: Moments | list[int]) -> None:
        if isinstance(seen, Moments):
            self._moments.join(seen)
        else:
            self._histogram = [a + b for a, b in zip(self._histogram, seen, strict=True)]


@cache
def torch_module() -> Any:
    """Return torch, imported now if it was not; to be asked before a byte is fetched.

    Raises:
        UnknownError: it is not installed.
    """
    try:
        import torch  # noqa: PLC0415 - takes a second
    except ImportError:
        raise UnknownError(
            "values cannot be read: torch is not installed",
            f"{FULL_INSTALL}, or leave --values out",
        ) from None
    return torch


def settle() -> None:
    """Let torch set up its threads here and now; to be called before several threads use it.

    In a forked process the first use of torch replaces the pool that the fork broke. Two threads
    that do so at once end in an internal error of torch 2.13.
    """
    torch = torch_module()
    torch.set_num_threads(torch.get_num_threads())


@cache
def _pool() -> ThreadPoolExecutor:
    """Return our two threads, in which torch takes none of its own."""
    settle()
    return ThreadPoolExecutor(2, "values", torch_module().set_num_threads, (1,))


# --- floats of more than 8 bits ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Float:
    """How a dtype of floats is looked at.

    Attributes:
        number: torch's name of it.
        word: torch's name of the integers of that width.
        sign: the integer that is the sign bit alone.
        infinite: the magnitude that is infinity; all above it is not a number.
        normal: the least magnitude that is a normal number.
    """

    number: str
    word: str
    sign: int
    infinite: int
    normal: int


_FLOATS: Mapping[str, _Float] = MappingProxyType(
    {
        "BF16": _Float("bfloat16", "int16", -1 << 15, 0x7F80, 0x0080),
        "F16": _Float("float16", "int16", -1 << 15, 0x7C00, 0x0400),
        "F32": _Float("float32", "int32", -1 << 31, 0x7F80 << 16, 0x0080 << 16),
        "F64": _Float("float64", "int64", -1 << 63, 0x7FF0 << 48, 0x0010 << 48),
    }
)


def _floats(form: _Float, raw: Any) -> Moments:
    """Return what bytes hold that are floats."""
    torch = torch_module()
    bits = raw.view(getattr(torch, form.word))
    magnitudes = bits & ~form.sign
    moments = Moments(count=bits.numel())
    least, greatest = map(int, torch.aminmax(magnitudes))
    if greatest >= form.infinite:
        infinite = magnitudes == form.infinite
        moments.infinities = int(infinite.sum())
        moments.nans = int((magnitudes > form.infinite).sum())
        moments.negatives = int((infinite & (bits < 0)).sum())
        finite = magnitudes < form.infinite
        bits, magnitudes = bits[finite], magnitudes[finite]
        if not bits.numel():
            return moments
        least, greatest = map(int, torch.aminmax(magnitudes))
    _add_finite(moments, form, bits, magnitudes, (least, greatest))
    return moments


def _add_finite(
    moments: Moments, form: _Float, bits: Any, magnitudes: Any, bounds: tuple[int, int]
) -> None:
    """Add finite floats: their bits, those without the sign, and the bounds of these."""
    torch = torch_module()
    least, greatest = bounds
    # Among numbers without a sign the bits grow with the value; among those with one, with the
    # sign bit turned over, they grow as the value falls.
    deepest, top = map(int, torch.aminmax(bits))
    bottom = int((bits ^ form.sign).max())
    count = nonzero = bits.numel()
    nearest = least
    if not least:
        nonzero = int(torch.count_nonzero(magnitudes))
        nearest = int(((magnitudes - 1) & ~form.sign).min()) + 1 if nonzero else 0
    if nearest < form.normal:
        normal = int(torch.count_nonzero(magnitudes & -form.normal))
        moments.subnormals += nonzero - normal
    if bottom >= 0:
        moments.negatives += int(torch.count_nonzero(bits & form.sign))
        if deepest == form.sign:  # minus zero has a sign, and is not negative
            moments.negatives -= int((bits == form.sign).sum())
    moments.zeros += count - nonzero

    def value(magnitude: int) -> float:
        word = torch.tensor([magnitude], dtype=bits.dtype)
        return float(word.view(getattr(torch, form.number)).double())

    high = value(top) if top >= 0 else -value(least)
    low = -value(bottom) if bottom >= 0 else value(least)
    moments.bound(low, high, value(nearest) or None)
    numbers = bits.view(getattr(torch, form.number))
    total, squares = _sums(numbers, value(greatest))
    moments.total += total
    moments.squares += squares


_SQUARED = (1e-15, 1e15)
"""Magnitudes whose squares, and sums of them, single precision holds."""


def _sums(numbers: Any, greatest: float) -> tuple[float, float]:
    """Return the sum of some numbers and that of their squares."""
    torch = torch_module()
    single = numbers.dtype != torch.float64 and _SQUARED[0] < greatest < _SQUARED[1]
    wide = numbers.to(torch.float32 if single else torch.float64)
    return float(wide.sum()), float(torch.dot(wide, wide))


# --- integers of more than 8 bits ----------------------------------------------------

_WORDS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("I16", "U16"), "int16"),
        **dict.fromkeys(("I32", "U32"), "int32"),
        **dict.fromkeys(("I64", "U64"), "int64"),
    }
)
"""torch's names of the integers that they are looked at as: unsigned ones as signed."""


def _words(name: str, raw: Any) -> Moments:
    """Return what bytes hold that are integers, or codes that are packed into them."""
    torch = torch_module()
    numbers = raw.view(getattr(torch, name))
    least, most = map(int, torch.aminmax(numbers))
    moments = Moments(count=numbers.numel(), has_means=False)
    moments.bound(least, most, None)
    if least <= 0 <= most:
        moments.zeros = moments.count - int(torch.count_nonzero(numbers))
    if least < 0:
        moments.negatives = int((numbers < 0).sum())
    return moments


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
