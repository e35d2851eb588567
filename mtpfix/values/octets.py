"""What the codes of a dtype of 8 bits stand for. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType

from mtpfix.values.moments import Moments
from mtpfix.values.summary import Summary


def _float8(code: int, exponents: int, bias: int) -> float:
    """Return the number of a code with a sign, `exponents` bits of exponent, and the rest."""
    mantissas = 7 - exponents
    exponent, mantissa = (code & 0x7F) >> mantissas, code & ((1 << mantissas) - 1)
    whole = mantissa + ((1 << mantissas) if exponent else 0)
    number = math.ldexp(whole, max(exponent, 1) - bias - mantissas)
    return -number if code & 0x80 else number


def _e4m3(code: int) -> float:
    return math.nan if code & 0x7F == 0x7F else _float8(code, 4, 7)  # noqa: PLR2004


def _e5m2(code: int) -> float:
    if code & 0x7F > 0x7C:  # noqa: PLR2004
        return math.nan
    if code & 0x7F < 0x7C:  # noqa: PLR2004
        return _float8(code, 5, 15)
    return -math.inf if code & 0x80 else math.inf


def _e8m0(code: int) -> float:
    return math.nan if code == 0xFF else math.ldexp(1.0, code - 127)  # noqa: PLR2004


def _i8(code: int) -> float:
    return code - 256 if code & 0x80 else code


OCTETS: Mapping[str, tuple[Callable[[int], float], float]] = MappingProxyType(
    {
        "F8_E4M3": (_e4m3, 2.0**-6),
        "F8_E5M2": (_e5m2, 2.0**-14),
        "F8_E8M0": (_e8m0, 0.0),
        "I8": (_i8, 0.0),
    }
)
"""Number of a code, and the least normal number; of other dtypes a byte is its own number."""


@cache
def _numbers(dtype: str) -> tuple[float, ...]:
    number: Callable[[int], float] = OCTETS[dtype][0] if dtype in OCTETS else float
    return tuple(map(number, range(256)))


def of_histogram(dtype: str, histogram: Sequence[int]) -> Summary:
    """Return the summary of values of which each code stands as often as it says."""
    normal = OCTETS[dtype][1] if dtype in OCTETS else 0.0
    moments = Moments(count=sum(histogram))
    for number, times in zip(_numbers(dtype), histogram, strict=True):
        if not times:
            continue
        if number < 0:
            moments.negatives += times
        if math.isnan(number):
            moments.nans += times
        elif math.isinf(number):
            moments.infinities += times
        else:
            moments.zeros += times if number == 0 else 0
            moments.subnormals += times if 0 < abs(number) < normal else 0
            moments.bound(number, number, abs(number) or None)
            moments.total += times * number
            moments.squares += times * number * number
    return moments.summary(dtype)
