"""How packed integers are told by the shapes of their tensors alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mtpfix.checkpoint.packing import (
    CHANNEL,
    Clash,
    Packing,
    block_clashes,
    outputs,
    packed_clashes,
    packings,
)
from mtpfix.model import Tensor

Shapes = dict[str, tuple[str, tuple[int, ...]]]
Form = Callable[[int, int], Shapes]


def held(**shapes: tuple[str, tuple[int, ...]]) -> dict[str, Tensor | None]:
    return {suffix: Tensor(dtype, shape, 0, 0) for suffix, (dtype, shape) in shapes.items()}


def compressed(bits: int, group: int, size: tuple[int, int] = (256, 512)) -> Shapes:
    rows, columns = size
    scales = 1 if group == CHANNEL else columns // group
    return {
        "weight_packed": ("I32", (rows, columns * bits // 32)),
        "weight_scale": ("BF16", (rows, scales)),
        "weight_shape": ("I64", (2,)),
    }


def gptq(bits: int, group: int, size: tuple[int, int] = (256, 512)) -> Shapes:
    rows, columns = size
    scales = 1 if group == CHANNEL else columns // group
    return {
        "qweight": ("I32", (columns * bits // 32, rows)),
        "qzeros": ("I32", (scales, rows * bits // 32)),
        "scales": ("F16", (scales, rows)),
    }


def awq(bits: int, group: int, size: tuple[int, int] = (256, 512)) -> Shapes:
    rows, columns = size
    scales = 1 if group == CHANNEL else columns // group
    return {
        "qweight": ("I32", (columns, rows * bits // 32)),
        "qzeros": ("I32", (scales, rows * bits // 32)),
        "scales": ("F16", (scales, rows)),
    }


def fits(shapes: Shapes, bits: int, group: int) -> bool:
    return any(way.fits(bits, group) for way in packings(held(**shapes)))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [CHANNEL, 32, 128])
@pytest.mark.parametrize("form", [compressed, gptq, awq])
def test_what_was_stored_is_among_the_ways(form: Form, bits: int, group: int) -> None:
    shapes = form(bits, group)
    assert Packing(bits, group, 512) in packings(held(**shapes))
    assert fits(shapes, bits, group)
    assert () in packed_clashes(held(**shapes), bits, group)


@pytest.mark.parametrize("form", [compressed, gptq, awq])
@pytest.mark.parametrize(
    ("bits", "group"), [(8, 32), (4, 64), (4, 128), (4, CHANNEL), (8, CHANNEL)]
)
def test_other_bits_and_groups_do_not_fit(form: Form, bits: int, group: int) -> None:
    shapes = form(4, 32)
    assert not fits(shapes, bits, group)
    assert all(packed_clashes(held(**shapes), bits, group))


def test_the_whole_row_is_a_group() -> None:
    assert fits(compressed(4, 512), 4, CHANNEL)
    assert fits(gptq(4, CHANNEL), 4, 512)


def test_the_width_alone_tells_more_bits_from_more_inputs() -> None:
    stored = held(**compressed(8, 32))
    assert {Packing(8, 32, 512), Packing(4, 64, 1024)} <= packings(stored)
    assert () in packed_clashes(stored, 4, 64)
    clash = packed_clashes(stored, 4, 64, width=512)
    assert clash == (
        (
            Clash("weight_packed", (256, 128), (256, 64)),
            Clash("weight_scale", (256, 16), (256, 8)),
        ),
    )


def test_a_width_that_no_way_has_is_not_that_of_the_layer() -> None:
    stored = held(**compressed(8, 32))
    assert packed_clashes(stored, 4, 64, width=77) == packed_clashes(stored, 4, 64)


def test_zero_points_and_the_order_of_inputs_tell_the_bits() -> None:
    plain = compressed(8, 32)
    asymmetric = {**plain, "weight_zero_point": ("I32", (64, 16))}
    assert packings(held(**asymmetric)) == {Packing(8, 32, 512)}
    ordered = {**plain, "weight_g_idx": ("I32", (512,))}
    assert packings(held(**ordered)) == {Packing(8, 32, 512)}
    assert packings(held(**gptq(8, 32))) == {Packing(8, 32, 512)}
    bare = {suffix: entry for suffix, entry in gptq(8, 32).items() if suffix != "qzeros"}
    assert Packing(4, 64, 1024) in packings(held(**bare))
    assert packings(held(**bare, g_idx=("I32", (512,)))) == {Packing(8, 32, 512)}


def test_the_words_of_awq_lie_along_the_outputs() -> None:
    assert packings(held(**awq(4, 64))) == {Packing(4, 64, 512)}
    clash = packed_clashes(held(**awq(8, 64)), 4, 64)
    assert clash == ((Clash("qweight", (64, 512), (32, 512)), Clash("qzeros", (64, 8), (32, 8))),)


def test_stacked_experts_are_read_by_their_last_dimensions() -> None:
    stacked = {suffix: (dtype, (4, *shape)) for suffix, (dtype, shape) in compressed(4, 32).items()}
    stored = held(_packed=stacked["weight_packed"], _scale=stacked["weight_scale"])
    assert Packing(4, 32, 512) in packings(stored)


@pytest.mark.parametrize(
    "shapes",
    [
        {"weight": ("BF16", (256, 512))},
        {"weight": ("F8_E4M3", (256, 512)), "weight_scale": ("F32", (2, 4))},
        {"weight_packed": ("U8", (256, 256)), "weight_scale": ("F8_E4M3", (256, 32))},
        {"weight_packed": ("I32", (256, 64))},
        {"weight_packed": ("I32", (256, 64)), "weight_scale": ("BF16", (8, 4))},
        {"weight_packed": ("I32", (64,)), "weight_scale": ("BF16", (64,))},
        {"qweight": ("I32", (64, 256))},
        {"qweight": ("I32", (0, 0)), "scales": ("F16", (0, 0))},
    ],
)
def test_what_is_no_packed_integers_has_no_way(shapes: Shapes) -> None:
    assert packings(held(**shapes)) == frozenset()
    assert packed_clashes(held(**shapes), 4, 32) == ()


def test_headers_that_were_not_read_say_nothing() -> None:
    unread: dict[str, Tensor | None] = dict.fromkeys(compressed(4, 32))
    assert packings(unread) == frozenset()
    assert packed_clashes(unread, 8, 32) == ()
    assert block_clashes({"weight": None, "weight_scale": None}, (128, 128)) == ()
    assert outputs(unread) is None


@pytest.mark.parametrize("scale", ["weight_scale", "weight_scale_inv"])
def test_fp8_blocks_are_compared_with_the_scales(scale: str) -> None:
    stored = held(**{"weight": ("F8_E4M3", (576, 7168)), scale: ("F32", (5, 56))})
    assert block_clashes(stored, (128, 128)) == ()
    assert block_clashes(stored, (128, 64)) == (Clash(scale, (5, 56), (5, 112)),)
    assert block_clashes(stored, (1, 128)) == (Clash(scale, (5, 56), (576, 56)),)


def test_the_outputs_of_a_layer() -> None:
    for form in (compressed, gptq, awq):
        assert outputs(held(**form(4, 32))) == 256
    assert outputs(held(weight=("BF16", (256, 512)))) == 256
    assert outputs(held(weight=("BF16", (256,)))) is None
