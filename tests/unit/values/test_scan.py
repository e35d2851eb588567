"""Every count and moment against plain arithmetic on Python's own floats."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtpfix.errors import UnknownError
from mtpfix.model import Tensor
from mtpfix.values import scan as scan_module
from mtpfix.values.scan import STEP, Scan
from mtpfix.values.summary import Summary

FLOATS = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
}
INTEGERS = {"U8": torch.uint8, "I8": torch.int8, "I32": torch.int32, "I64": torch.int64}


def scanned(dtype: str, raw: bytes, cuts: Sequence[int] = ()) -> Summary:
    scan = Scan(Tensor(dtype, (len(raw),), 0, len(raw)))
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    for begin, end in pairwise(edges):
        scan.feed(memoryview(raw)[begin:end])
    return scan.summary()


def numbers(dtype: str, raw: bytes) -> list[float]:
    if not raw:
        return []
    values = torch.frombuffer(bytearray(raw), dtype={**FLOATS, **INTEGERS}[dtype])
    found: list[float] = values.to(torch.float64 if dtype in FLOATS else torch.int64).tolist()
    return found


def tiny(dtype: str) -> float:
    return 2.0**-127 if dtype == "F8_E8M0" else torch.finfo(FLOATS[dtype]).tiny


def close(found: float | None, wanted: float, scale: float) -> bool:
    assert found is not None
    return math.isinf(wanted) or abs(found - wanted) <= 1e-5 * scale + 1e-300


def compare(found: Summary, dtype: str, values: list[float]) -> None:
    finite = [v for v in values if math.isfinite(v)]
    assert found.count == len(values)
    assert found.nans == sum(map(math.isnan, values))
    assert found.infinities == sum(map(math.isinf, values))
    assert found.zeros == sum(v == 0 for v in values)
    assert found.negatives == sum(v < 0 for v in values)
    assert found.minimum == min(finite, default=None)
    assert found.maximum == max(finite, default=None)
    if dtype in FLOATS:
        nonzero = [abs(v) for v in finite if v]
        assert found.least_magnitude == min(nonzero, default=None)
        assert found.subnormals == sum(v < tiny(dtype) for v in nonzero)
    if not finite or dtype in ("I32", "I64"):
        return
    greatest = max(map(abs, finite))
    assert close(found.mean, math.fsum(finite) / len(finite), greatest)
    if greatest < 1e150:
        squares = math.fsum(v * v for v in finite) / len(finite)
        assert close(found.mean_square, squares, greatest**2)


@given(
    st.sampled_from([*FLOATS, *INTEGERS]),
    st.lists(st.binary(min_size=8, max_size=8), max_size=40),
    st.lists(st.integers(0, 320), max_size=8),
)
def test_any_bits_in_any_pieces(dtype: str, words: list[bytes], cuts: list[int]) -> None:
    raw = b"".join(words)
    compare(scanned(dtype, raw, cuts), dtype, numbers(dtype, raw))


@given(st.sampled_from([*FLOATS]), st.lists(st.floats(-1.0, 1.0, width=32), max_size=200))
def test_ordinary_numbers(dtype: str, values: list[float]) -> None:
    made = torch.tensor(values, dtype=torch.float64).to(FLOATS[dtype])
    raw = bytes(made.view(torch.uint8).tolist())
    compare(scanned(dtype, raw, [3, 5]), dtype, numbers(dtype, raw))


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F8_E8M0"])
def test_every_code_of_8_bits(dtype: str) -> None:
    for code in range(256):
        raw = bytes([code])
        compare(scanned(dtype, raw), dtype, numbers(dtype, raw))


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_every_code_of_16_bits_at_once(dtype: str) -> None:
    raw = b"".join(code.to_bytes(2, "little") for code in range(1 << 16))
    compare(scanned(dtype, raw, [1, 777]), dtype, numbers(dtype, raw))


@pytest.mark.parametrize("dtype", ["BF16", "F32", "F8_E4M3"])
def test_more_than_one_step(dtype: str) -> None:
    """What is seen in one step is joined with what is seen in the next."""
    generator = torch.Generator().manual_seed(1)
    made = torch.randn(STEP + 1000, generator=generator).mul_(0.02).to(FLOATS[dtype])
    wide = made.double()
    raw = bytes(made.view(torch.uint8).numpy())
    found = scanned(dtype, raw, range(0, len(raw), 99_991))
    assert found.count == len(wide)
    assert (found.minimum, found.maximum) == (wide.min(), wide.max())
    assert found.zeros == (wide == 0).sum()
    assert found.negatives == (wide < 0).sum()
    assert found.mean == pytest.approx(wide.mean().item(), abs=1e-7)
    assert found.rms == pytest.approx(wide.square().mean().sqrt().item(), rel=1e-5)


@pytest.mark.parametrize("dtype", ["F4", "F6_E2M3", "BOOL", "C64", "U16", "U64", "F8_E4M3FNUZ"])
def test_a_dtype_of_codes_is_looked_at_for_what_is_alike(dtype: str) -> None:
    assert scanned(dtype, bytes(24)).is_zero
    assert scanned(dtype, b"\xff" * 24).is_constant
    assert not scanned(dtype, bytes(range(24))).is_constant


def test_minus_zero_is_zero() -> None:
    found = scanned("BF16", b"\x00\x80" * 3 + b"\x00\x00")
    assert found.is_zero
    assert found.is_constant
    assert found.negatives == 0


def test_an_empty_tensor_says_nothing() -> None:
    found = scanned("BF16", b"")
    assert found == Summary("BF16", 0)
    assert not found.is_constant
    assert not found.is_zero


def test_other_bytes_than_the_tensor_has() -> None:
    scan = Scan(Tensor("BF16", (2,), 10, 14))
    with pytest.raises(ValueError, match="5 bytes where the tensor has 4 left"):
        scan.feed(bytes(5))
    scan.feed(b"ab")
    with pytest.raises(ValueError, match="2 bytes of the tensor are missing"):
        scan.summary()


def test_memory_is_bounded() -> None:
    scan = Scan(Tensor("U8", (1 << 40,), 0, 1 << 40))
    for _ in range(8):
        scan.feed(bytes(STEP))
    assert len(scan._buffer) == STEP


def test_no_import_of_torch_before_bytes() -> None:
    code = "import sys, mtpfix.values.read, mtpfix.values.judge; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    scan_module.torch_module.cache_clear()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UnknownError, match="torch is not installed"):
        scanned("BF16", bytes(2))
    scan_module.torch_module.cache_clear()
