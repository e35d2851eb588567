"""How a module is stored, in numbers: told from the shapes of its tensors."""

from __future__ import annotations

import pytest

from mtpfix.checkpoint.scheme import Numbers, Scheme, scheme
from mtpfix.model import Tensor

F8 = {"weight": Tensor("F8_E4M3", (256, 384), 0, 0)}


def packed(bits: int, size: int, width: int) -> dict[str, Tensor]:
    groups = 1 if size < 0 else width // size
    return {
        "weight_packed": Tensor("I32", (256, width * bits // 32), 0, 0),
        "weight_scale": Tensor("BF16", (256, groups), 0, 0),
        "weight_shape": Tensor("I64", (2,), 0, 0),
    }


def numbers(found: Scheme | None) -> Numbers | None:
    assert found is not None
    return found.packing


def test_layers_of_other_widths_have_one_scheme() -> None:
    found = {scheme(packed(4, 64, width), [width]) for width in (256, 512)}
    assert {numbers(each) for each in found} == {(4, 64)}


def test_a_row_that_is_one_group_is_as_its_neighbours() -> None:
    one = packed(4, -1, 64)
    assert numbers(scheme(one, [64])) == (4, -1)
    assert numbers(scheme(one, [64], {Numbers(4, 64): 1})) == (4, 64)
    assert numbers(scheme(one, [64], {Numbers(4, 32): 1, Numbers(8, 64): 1})) == (4, -1)


def test_numbers_that_cannot_be_told_are_not_guessed() -> None:
    assert numbers(scheme(packed(4, 64, 256))) is None
    assert numbers(scheme(packed(4, 64, 256), [128, 256])) is None


def test_what_is_unquantized_has_none() -> None:
    assert scheme({"weight": Tensor("BF16", (256, 256), 0, 0)}) is None


@pytest.mark.parametrize(("shape", "block"), [((2, 3), (128, 128)), ((4, 6), (64, 64))])
def test_blocks_are_told_from_the_scales(shape: tuple[int, int], block: tuple[int, int]) -> None:
    found = scheme({**F8, "weight_scale_inv": Tensor("F32", shape, 0, 0)})
    assert found is not None
    assert (found.format, found.block) == ("fp8-block", block)


def test_of_two_readings_the_more_usual_counts() -> None:
    """As of `mtp.fc`, whose input is twice as wide as the model."""
    wide = packed(4, 64, 512)
    assert numbers(scheme(wide, [256])) == (8, 32)
    assert numbers(scheme(wide, [256], {Numbers(4, 64): 5, Numbers(8, 32): 1})) == (4, 64)
