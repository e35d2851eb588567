"""What becomes of tensors of another size than the parameters that are built for them."""

from __future__ import annotations

import pytest

from mtpfix.checkpoint.inventory import Layer
from mtpfix.engines.vllm.sizes import size_misfit
from mtpfix.model import Consequence, Decision, Kind, Module, Tensor

CHANNEL = -1
ROW, COLUMN, WHOLE = "RowParallelLinear", "ColumnParallelLinear", "ReplicatedLinear"
CUT = ("silent_garbage", None)
SHORT = ("load_error", "RuntimeError: start (0) + length (…) exceeds dimension size (…).")
DIFFERS = ("load_error", "AssertionError: ")
LONG = (
    "load_error",
    "RuntimeError: The size of tensor a (…) must match the size of tensor b (…) "
    "at non-singleton dimension …",
)
ONE = (
    "load_error",
    "RuntimeError: output with shape […] doesn't match the broadcast shape […]",
)
TORN = (
    "load_error",
    "AssertionError: Tried to load weights of size torch.Size([…])"
    "to a parameter of size torch.Size([…])",
)
Effect = tuple[str, str | None]


def packed(bits: int, group: int, inputs: int | None = 256, name: str = "a.proj") -> Layer:
    groups = 1 if group == CHANNEL else 256 // group
    shapes = {
        "weight_packed": ("I32", (64, 256 * bits // 32)),
        "weight_scale": ("BF16", (64, groups)),
    }
    return Layer(name, {s: Tensor(d, shape, 0, 0) for s, (d, shape) in shapes.items()}, inputs)


def fp8(block: tuple[int, int]) -> Layer:
    scale = (-(-256 // block[0]), -(-512 // block[1]))
    tensors = {
        "weight": Tensor("F8_E4M3", (256, 512), 0, 0),
        "weight_scale_inv": Tensor("F32", scale, 0, 0),
    }
    return Layer("a.proj", tensors, None)


def effect(
    cls: str,
    built: tuple[int, int],
    *layers: Layer,
    kind: Kind = "linear",
    block: tuple[int, int] | None = None,
) -> tuple[Consequence, str | None] | None:
    module = Module("draft", "a.proj", kind, cls, ("a.proj",))
    packing = None if block else built
    wrong = size_misfit(Decision(module, "quantized", packing=packing, block=block), layers)
    return None if wrong is None else wrong[:2]


@pytest.mark.parametrize(
    ("built", "disk", "effects"),
    [
        ((4, 32), (4, 32), (None, None, None, None)),
        ((4, CHANNEL), (4, 256), (None, None, None, None)),
        ((4, 32), (8, 32), (DIFFERS, CUT, TORN, LONG)),
        ((8, 32), (4, 32), (DIFFERS, SHORT, TORN, CUT)),
        ((4, 64), (4, 32), (DIFFERS, CUT, TORN, LONG)),
        ((4, 32), (4, 64), (DIFFERS, SHORT, TORN, CUT)),
        ((4, CHANNEL), (4, 32), (DIFFERS, CUT, TORN, ONE)),
        ((4, 32), (4, CHANNEL), (DIFFERS, SHORT, TORN, CUT)),
        ((4, CHANNEL), (8, CHANNEL), (DIFFERS, CUT, TORN, LONG)),
        ((8, 64), (4, 32), (DIFFERS, SHORT, TORN, LONG)),
    ],
)
def test_packed_integers(
    built: tuple[int, int], disk: tuple[int, int], effects: tuple[Effect | None, ...]
) -> None:
    column, row, whole, experts = effects
    layer = packed(*disk)
    assert effect(COLUMN, built, layer) == column
    assert effect(ROW, built, layer) == row
    assert effect(WHOLE, built, layer) == whole
    assert effect("RoutedExperts", built, layer, kind="experts") == experts


@pytest.mark.parametrize(
    ("built", "disk", "effects"),
    [
        ((128, 128), (128, 128), (None, None, None)),
        ((128, 64), (128, 128), (DIFFERS, SHORT, CUT)),
        ((128, 128), (128, 64), (DIFFERS, CUT, ("load_error", None))),
        ((64, 128), (128, 128), (SHORT, DIFFERS, CUT)),
        ((128, 128), (64, 128), (CUT, DIFFERS, ("load_error", None))),
    ],
)
def test_fp8_blocks(
    built: tuple[int, int], disk: tuple[int, int], effects: tuple[Effect | None, ...]
) -> None:
    column, row, experts = effects
    layer = fp8(disk)
    assert effect(COLUMN, built, layer, block=built) == column
    assert effect(ROW, built, layer, block=built) == row
    assert effect("RoutedExperts", built, layer, kind="experts", block=built) == experts


def test_an_exception_comes_before_garbage_and_the_first_before_others() -> None:
    module = Module("draft", "a.experts", "experts", "RoutedExperts", ("a.experts.*.w1",))
    decision = Decision(module, "quantized", packing=(4, 64))
    layers = (
        packed(4, 128, name="a.experts.0.w1"),
        packed(4, 32, name="a.experts.2.w1"),
        packed(4, 32, name="a.experts.1.w1"),
    )
    wrong = size_misfit(decision, layers)
    assert wrong is not None
    assert (wrong.consequence, wrong.tensor) == ("load_error", "a.experts.1.w1.weight_scale")


def test_a_head_raises_in_words_of_its_own() -> None:
    assert effect("ParallelLMHead", (8, 32), packed(4, 32), kind="lm_head") == ("load_error", None)


def test_nothing_is_known_without_headers_or_numbers() -> None:
    unread = Layer("a.proj", dict.fromkeys(("weight_packed", "weight_scale")), None)
    assert effect(COLUMN, (8, 32), unread) is None
    assert effect(COLUMN, (8, 32)) is None
    module = Module("draft", "a.proj", "linear", COLUMN, ("a.proj",))
    assert size_misfit(Decision(module, "quantized"), [packed(4, 32)]) is None


def test_where_the_width_is_not_known_any_way_to_read_it_may_be_right() -> None:
    assert effect(ROW, (4, 64), packed(8, 32, inputs=None)) is None
    assert effect(ROW, (4, 64), packed(8, 32)) == CUT
    assert effect(COLUMN, (4, 32), packed(8, 32, inputs=None)) == DIFFERS
    assert effect(ROW, (4, 32), packed(8, 32, inputs=None)) == ("load_error", None)
    assert effect(ROW, (4, 64), packed(4, 32, inputs=None)) == CUT  # no groups of 16
    assert effect(ROW, (4, 128), packed(8, 128, inputs=None)) == CUT  # nor of 256
