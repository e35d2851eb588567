"""mtpfix.grafts.pieces: what each tensor of the block is called, and becomes."""

from __future__ import annotations

import pytest

from mtpfix.checkpoint.header import BITS
from mtpfix.errors import RefusedError
from mtpfix.grafts.pieces import (
    Piece,
    Stored,
    as_it_is,
    convertible,
    dequantized,
    fours,
    moved,
    ordered,
    repacked,
    rescaled,
)


def held(name: str, dtype: str = "BF16", shape: tuple[int, ...] = (4, 4), begin: int = 0) -> Stored:
    size = BITS[dtype]
    for length in shape:
        size *= length
    return Stored(name, "a.safetensors", dtype, shape, begin, begin + size // 8)


def pieces(*stored: Stored) -> tuple[Piece, ...]:
    return as_it_is((each.name, each) for each in stored)


FP8 = (
    held("m.q.weight", "F8_E4M3"),
    held("m.q.weight_scale_inv", "F32", (1, 1)),
    held("m.norm.weight", "BF16", (4,)),
)

FP8_PIECES = pieces(*FP8)

# --- as they are ---------------------------------------------------------------


def test_bytes_that_stay_are_a_copy() -> None:
    piece = as_it_is([("n.weight", held("m.weight"))])[0]
    assert (piece.name, piece.source, piece.shard) == ("n.weight", "m.weight", "a.safetensors")
    assert (piece.dtype, piece.shape, piece.size, piece.fetched) == ("BF16", (4, 4), 32, 32)
    assert piece.conversion == "copy"


@pytest.mark.parametrize(
    ("theirs", "ours", "name", "wanted"),
    [
        (["model.layers.61."], ["model.layers.61."], "model.layers.61.a", "model.layers.61.a"),
        (
            ["model.language_model.layers.9."],
            ["model.layers.9."],
            "model.language_model.layers.9.a.weight",
            "model.layers.9.a.weight",
        ),
        (
            ["model.layers.9."],
            ["model.layers.2."],
            "model.layers.9.layers.9.",
            "model.layers.2.layers.9.",
        ),
        (["mtp."], ["mtp."], "mtp.fc.weight", "mtp.fc.weight"),
        (["a.1.", "a.2."], ["b.1.", "b.2."], "a.2.w", "b.2.w"),
        (["a.1."], ["b.1."], "a.10.w", "a.10.w"),
        (["a.1.", "a.2."], ["b.1."], "a.2.w", "a.2.w"),
    ],
)
def test_names_are_moved_by_their_beginnings(
    theirs: list[str], ours: list[str], name: str, wanted: str
) -> None:
    assert moved(name, theirs, ours) == wanted


# --- under another name --------------------------------------------------------


def test_scales_get_the_name_that_the_method_loads() -> None:
    made = rescaled(pieces(*FP8), "weight_scale")
    assert [p.name for p in made] == ["m.q.weight", "m.q.weight_scale", "m.norm.weight"]
    assert [p.conversion for p in made] == ["copy", "rename", "copy"]
    assert [p.stored for p in made] == list(FP8)


def test_stacked_experts_have_their_scales_renamed_too() -> None:
    stacked = pieces(
        held("m.experts.down_proj", "F8_E4M3", (2, 4, 4)),
        held("m.experts.down_proj_scale_inv", "F32", (2, 1, 1)),
    )
    assert [p.name for p in rescaled(stacked, "weight_scale")] == [
        "m.experts.down_proj",
        "m.experts.down_proj_scale",
    ]


def test_scales_of_blocks_are_spread_over_four_dimensions_with_the_same_bytes() -> None:
    made = rescaled(
        pieces(
            held("m.q.weight", "F8_E4M3", (256, 384)), held("m.q.weight_scale_inv", "F32", (2, 3))
        ),
        "weight_scale",
        spread=True,
    )
    assert [(p.name, p.shape) for p in made] == [
        ("m.q.weight", (256, 384)),
        ("m.q.weight_scale", (2, 1, 3, 1)),
    ]
    assert [p.size for p in made] == [256 * 384, 24]


# --- made BF16 -----------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["weight_scale_inv", "weight_scale", "scale"])
@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2"])
def test_codes_and_their_scale_become_one_tensor(suffix: str, dtype: str) -> None:
    codes, scale = held("m.q.weight", dtype, (8, 6)), held(f"m.q.{suffix}", "F32", (1, 1), 50)
    bias = held("m.q.bias", "BF16", (8,))
    activation = held("m.q.input_scale", "F32", (1,))
    made = dequantized(pieces(scale, activation, codes, bias))
    assert made == (Piece("m.q.weight", codes, scale), Piece("m.q.bias", bias))
    assert (made[0].dtype, made[0].size, made[0].fetched) == ("BF16", 96, 52)
    assert made[0].conversion == "dequantize"


def test_stacked_experts_become_bf16() -> None:
    codes = held("m.experts.gate_up_proj", "F8_E4M3", (2, 4, 4))
    scale = held("m.experts.gate_up_proj_scale_inv", "F32", (2, 1, 1))
    assert dequantized(pieces(codes, scale)) == (Piece(codes.name, codes, scale),)


def test_a_block_that_is_plain_stays() -> None:
    plain = pieces(held("m.a.weight"), held("m.a.bias", "F32"), held("m.b.weight", "F16"))
    assert dequantized(plain) == plain


@pytest.mark.parametrize("dtype", ["U8", "I32", "F4", "I8", "F8_E4M3FNUZ", "F6_E2M3", "BOOL"])
def test_other_formats_are_refused_with_the_reason(dtype: str) -> None:
    block = pieces(held("m.q.weight", dtype, (8, 8)), held("m.q.weight_scale", "BF16", (8, 1)))
    with pytest.raises(RefusedError, match=rf"'m\.q\.weight' as {dtype}: only FP8 and") as caught:
        dequantized(block)
    assert caught.value.remedy == "give a base whose MTP block is BF16, FP8 or MXFP4"


MXFP4 = (
    held("m.e.0.w1.weight", "I8", (6, 64)),
    held("m.e.0.w1.scale", "F8_E8M0", (6, 4)),
)


@pytest.mark.parametrize("dtype", ["I8", "U8"])
@pytest.mark.parametrize("powers", ["F8_E8M0", "U8"])
def test_two_codes_of_mxfp4_in_a_byte_become_two_values(dtype: str, powers: str) -> None:
    codes, scale = (each._replace(dtype=d) for each, d in zip(MXFP4, (dtype, powers), strict=True))
    (made,) = dequantized(pieces(codes, scale))
    assert made == Piece(codes.name, codes, scale)
    assert (made.dtype, made.shape, made.size) == ("BF16", (6, 128), 6 * 128 * 2)
    assert (made.fetched, made.conversion) == (6 * 64 + 6 * 4, "dequantize")


def test_mxfp4_is_told_by_the_number_of_its_scales() -> None:
    codes, scale = MXFP4
    wide = scale._replace(shape=(6, 8))
    assert (fours(pieces(codes, scale)), fours(pieces(codes, wide)), fours(FP8_PIECES)) == (
        *(True, False, False),
    )
    assert [convertible(each) for each in (pieces(codes, scale), FP8_PIECES)] == [True, True]
    assert not convertible(pieces(codes, wide, held("m.norm.weight")))
    with pytest.raises(RefusedError, match="as I8: only FP8 and MXFP4"):
        dequantized(pieces(codes, wide))


def test_compressed_tensors_has_other_names_and_types_for_the_same_bytes() -> None:
    made = repacked((*pieces(*MXFP4), *FP8_PIECES))
    assert [(p.name, p.dtype, p.shape, p.size, p.conversion) for p in made] == [
        ("m.e.0.w1.weight_packed", "U8", (6, 64), 384, "rename"),
        ("m.e.0.w1.weight_scale", "U8", (6, 4), 24, "rename"),
        ("m.q.weight", "F8_E4M3", (4, 4), 16, "copy"),
        ("m.q.weight_scale", "F32", (1, 1), 4, "rename"),
        ("m.norm.weight", "BF16", (4,), 8, "copy"),
    ]


def test_packed_weights_are_refused() -> None:
    block = pieces(held("m.q.weight_packed", "I32"), held("m.q.weight_scale", "BF16", (4, 1)))
    with pytest.raises(RefusedError, match="weight_packed' as I32"):
        dequantized(block)


def test_codes_without_a_scale_mean_nothing() -> None:
    with pytest.raises(RefusedError, match=r"'m\.q\.weight' in FP8 and no scale"):
        dequantized(pieces(held("m.q.weight", "F8_E4M3")))


def test_a_name_with_a_terminal_escape_is_told_inertly() -> None:
    with pytest.raises(RefusedError) as caught:
        dequantized(pieces(held("m.\x1b[2J\n.weight", "F8_E4M3")))
    assert caught.value.message.isprintable()


# --- the order of the new shard --------------------------------------------------


def test_every_tensor_begins_at_a_multiple_of_its_element() -> None:
    made = ordered(
        pieces(
            held("a", "F8_E4M3", (3,)),
            held("b", "BF16", (3,)),
            held("c", "F4", (6,)),
            held("d", "F32", (1,)),
            held("e", "I64", (1,)),
            held("f", "U8", (5,)),
            held("g", "BF16", (1,)),
        )
    )
    begin = 0
    for piece in made:
        assert begin % max(1, BITS[piece.dtype] // 8) == 0
        begin += piece.size
    assert [p.name for p in made] == ["e", "d", "b", "g", "a", "f", "c"]


def test_neighbours_stay_neighbours_and_files_stay_together() -> None:
    one, two = held("x", begin=0), held("y", begin=32)
    far = one._replace(name="z", shard="b.safetensors")
    assert [p.name for p in ordered(pieces(far, two, one))] == ["x", "y", "z"]


def test_what_is_converted_comes_after_what_is_copied() -> None:
    codes, scale = FP8[0], FP8[1]
    made = ordered((Piece("m.q.weight", codes, scale), Piece("w", held("w", begin=500))))
    assert [p.name for p in made] == ["w", "m.q.weight"]
