"""mtpfix.grafts.dequantize against the same arithmetic done element by element."""

from __future__ import annotations

import math
import struct

import pytest
import torch

from mtpfix.errors import RefusedError
from mtpfix.grafts import dequantize as module
from mtpfix.grafts.dequantize import dequantize
from mtpfix.grafts.pieces import Stored

CODES = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}
SCALES = {
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F8_E8M0": torch.float8_e8m0fnu,
}


def raw(tensor: torch.Tensor) -> bytearray:
    return bytearray(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def stored(tensor: torch.Tensor, dtype: str) -> Stored:
    return Stored("m.q.weight", "a", dtype, tuple(tensor.shape), 0, 0)


def run(codes: torch.Tensor, scale: torch.Tensor, code: str, kind: str) -> torch.Tensor:
    made = dequantize(raw(codes), stored(codes, code), raw(scale), stored(scale, kind))
    assert len(made) == 2 * codes.numel()
    return torch.frombuffer(made or bytearray(2), dtype=torch.bfloat16)[: codes.numel()].view(
        codes.shape
    )


def single(value: float) -> float:
    """Round to FP32."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def brain(value: float) -> float:
    """Round an FP32 number to BF16, to the nearest, ties to even, by its bits."""
    bits = struct.unpack("I", struct.pack("f", value))[0]
    bits += 0x7FFF + (bits >> 16 & 1)
    return float(struct.unpack("f", struct.pack("I", bits & 0xFFFF0000))[0])


def expected(codes: torch.Tensor, scale: torch.Tensor, block: tuple[int, ...]) -> list[float]:
    """Each code times the scale of its block: in FP32, and rounded once."""
    factors = scale.float()
    found = []
    for place in torch.cartesian_prod(*[torch.arange(n) for n in codes.shape]).tolist():
        at = tuple(p // size for p, size in zip(place, block, strict=True))
        code, factor = codes[tuple(place)].float().item(), factors[at].item()
        found.append(brain(single(code * factor)))  # two floats of 24 bits: exact in 64
    return found


def random(shape: tuple[int, ...], code: str, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return (torch.randn(shape) * 20).to(CODES[code])


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("kind", SCALES)
@pytest.mark.parametrize(
    ("shape", "scale", "block"),
    [
        ((8, 8), (2, 2), (4, 4)),
        ((7, 10), (2, 3), (4, 4)),  # cut at both edges
        ((130, 5), (2, 1), (128, 8)),
        ((6, 8), (6, 1), (1, 8)),  # one a row
        ((6, 8), (1, 1), (8, 8)),  # one in all
        ((3, 6, 5), (3, 2, 2), (1, 4, 4)),  # stacked experts
        ((3, 6, 5), (3, 1, 1), (1, 8, 8)),
        ((3, 6, 5), (3, 6, 1), (1, 1, 8)),
    ],
)
def test_every_value_is_that_of_fp32_rounded_once(
    code: str, kind: str, shape: tuple[int, ...], scale: tuple[int, ...], block: tuple[int, ...]
) -> None:
    codes = random(shape, code)
    factors = (torch.rand(scale) * 3e-2 + 1e-3).to(SCALES[kind])
    made = run(codes, factors, code, kind)
    assert made.reshape(-1).tolist() == expected(codes, factors, block)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_one_scale_of_the_tensor(shape: tuple[int, ...]) -> None:
    codes, scale = random((5, 3), "F8_E4M3"), torch.full(shape, 0.3)
    wanted = expected(codes, scale.reshape(1, 1), (5, 3))
    assert run(codes, scale, "F8_E4M3", "F32").reshape(-1).tolist() == wanted


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_one_scale_of_each_row(shape: tuple[int, ...]) -> None:
    codes, scale = random((5, 3), "F8_E4M3"), torch.rand(5)
    wanted = expected(codes, scale.reshape(5, 1), (1, 3))
    made = run(codes, scale.reshape(shape), "F8_E4M3", "F32")
    assert made.reshape(-1).tolist() == wanted


def test_a_multiplication_in_bf16_would_give_other_values() -> None:
    codes, scale = random((64, 64), "F8_E4M3"), torch.full((1, 1), 0.0123)
    twice = codes.to(torch.bfloat16) * scale.to(torch.bfloat16)
    assert (run(codes, scale, "F8_E4M3", "F32") != twice).float().mean() > 0.1


def test_codes_that_are_no_number_stay_none() -> None:
    codes = torch.tensor([[0x7F, 0xFF, 0x80, 0x00]], dtype=torch.uint8).view(CODES["F8_E4M3"])
    made = run(codes, torch.ones(1, 1), "F8_E4M3", "F32").tolist()[0]
    assert [math.isnan(value) for value in made] == [True, True, False, False]
    assert math.copysign(1, made[2]) == -1


def test_all_powers_of_two_of_e8m0() -> None:
    scale = torch.arange(100, 150, dtype=torch.uint8).view(SCALES["F8_E8M0"]).reshape(50, 1)
    codes = torch.ones(50, 2).to(CODES["F8_E4M3"])
    made = run(codes, scale, "F8_E4M3", "F8_E8M0")
    assert made[:, 0].tolist() == [2.0 ** (n - 127) for n in range(100, 150)]


@pytest.mark.parametrize("at_once", [1, 7, 24, 10_000])
def test_a_few_rows_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    codes, scale = random((10, 6, 5), "F8_E4M3"), torch.rand(5, 2, 2)
    made = run(codes, scale, "F8_E4M3", "F32")
    assert made.reshape(-1).tolist() == expected(codes, scale, (2, 4, 4))


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("at_once", [1, 1 << 22])
def test_all_pairs_of_codes_of_mxfp4_are_exact(
    monkeypatch: pytest.MonkeyPatch, rows: int, at_once: int
) -> None:
    monkeypatch.setattr("mtpfix.grafts.dequantize.AT_ONCE", at_once)
    codes = torch.arange(256, dtype=torch.uint8).repeat(rows, 1)  # two values in each
    powers = torch.arange(rows * 16, dtype=torch.uint8).reshape(rows, 16) + 60
    scale = stored(powers, "F8_E8M0")
    made = dequantize(raw(codes), stored(codes, "I8"), raw(powers), scale)
    found = torch.frombuffer(made, dtype=torch.bfloat16).view(rows, 512).double()
    size = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
    for row in range(rows):
        for place in range(512):
            code = place // 2 >> 4 if place % 2 else place // 2 & 15
            value = size[code & 7] * (-1 if code > 7 else 1)
            assert found[row, place] == value * 2.0 ** (int(powers[row, place // 32]) - 127)


def test_a_tensor_of_no_elements() -> None:
    codes = torch.empty((0, 4)).to(CODES["F8_E4M3"])
    assert run(codes, torch.ones(1, 1), "F8_E4M3", "F32").shape == (0, 4)


@pytest.mark.parametrize(
    ("shape", "scale"),
    [
        ((8, 8), (3, 2)),  # no block of one size cuts 8 rows into 3
        ((8, 8), (16, 8)),
        ((8, 8), (2, 2, 2)),
        ((2, 8, 8), (2,)),
        ((8, 8), (0, 8)),
        ((8,), (2, 2)),
    ],
)
def test_scales_that_do_not_fit_are_refused(shape: tuple[int, ...], scale: tuple[int, ...]) -> None:
    with pytest.raises(RefusedError, match=r"the scales of 'm\.q\.weight' in the base do not fit"):
        run(random(shape, "F8_E4M3"), torch.ones(scale), "F8_E4M3", "F32")


def test_scales_of_an_unknown_kind_are_refused() -> None:
    codes = random((4, 4), "F8_E4M3")
    with pytest.raises(RefusedError, match="dtype I32") as caught:
        run(codes, torch.ones(1, 1, dtype=torch.int32), "F8_E4M3", "I32")
    assert caught.value.remedy
