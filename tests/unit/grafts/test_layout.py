"""mtpfix.grafts.layout: a header that every reader takes, and ranges that fit both files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from mtpfix.checkpoint.header import BITS, parse_header
from mtpfix.grafts import layout as module
from mtpfix.grafts.layout import Layout, runs
from mtpfix.grafts.pieces import Piece, Stored, ordered

DTYPES = ("BF16", "F32", "F8_E4M3", "F16", "I64", "U8")


@st.composite
def blocks(draw: st.DrawFn) -> tuple[Piece, ...]:
    """Tensors in some files of a base, with and without gaps between them."""
    found, ends = [], dict.fromkeys(("a", "b"), 8)
    for number in range(draw(st.integers(1, 12))):
        shard, dtype = draw(st.sampled_from("ab")), draw(st.sampled_from(DTYPES))
        shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
        begin = ends[shard] + draw(st.sampled_from((0, 0, 0, 5)))
        size = BITS[dtype] // 8
        for length in shape:
            size *= length
        ends[shard] = begin + size
        name = draw(st.sampled_from(("w", "ü", '"', "\\", "\x1b"))) + str(number)
        codes = Stored(name, shard, dtype, shape, begin, begin + size)
        scale = Stored(f"{name}.scale", "a", "F32", (), 4, 8)
        found.append(Piece(name, codes, scale if dtype == "F8_E4M3" else None))
    return ordered(found)


@given(blocks())
def test_our_own_reader_takes_the_header(block: tuple[Piece, ...]) -> None:
    made = Layout(block, {"format": "pt"})
    read = parse_header(made.header, data_size=made.data_size, file="new")
    assert list(read) == [piece.name for piece in block]
    for piece in block:
        assert read[piece.name][:2] == (piece.dtype, piece.shape)
        width = max(1, BITS[piece.dtype] // 8)
        assert (len(made.head) + read[piece.name].begin) % width == 0
    assert made.size == len(made.head) + made.data_size


@given(block=blocks())
def test_ranges_bring_every_tensor_once_and_little_else(block: tuple[Piece, ...]) -> None:
    made = Layout(block, {})
    read = parse_header(made.header, data_size=made.data_size, file="new")
    seen = []
    for unit in made.units():
        place, held = unit.begin_in_base, 0
        for part in unit.parts:
            assert part.begin == len(made.head) + read[part.piece.name].begin
            assert part.piece.shard == unit.shard
            assert part.rest == part.piece.stored
            assert part.rest.begin >= place
            place = part.rest.end
            held += part.rest.end - part.rest.begin
            seen.append(part.piece)
        assert place == unit.end_in_base
        assert (place - unit.begin_in_base - held) * module.WASTE <= held
    assert sorted(seen, key=lambda p: p.name) == sorted(block, key=lambda p: p.name)


@given(blocks(), st.data())
def test_what_is_there_is_not_fetched(block: tuple[Piece, ...], data: st.DataObject) -> None:
    plain = [piece for piece in block if piece.scale is None]
    there = {p.name: data.draw(st.integers(0, p.size)) for p in plain if data.draw(st.booleans())}
    rest = {
        part.piece.name: part.rest.end - part.rest.begin
        for unit in Layout(block, {}).units(there)
        for part in unit.parts
    }
    assert rest == {
        piece.name: piece.stored.end - piece.stored.begin - there.get(piece.name, 0)
        for piece in block
        if there.get(piece.name) != piece.size
    }


def test_dtypes_and_conversions_do_not_part_neighbours() -> None:
    def at(name: str, dtype: str, begin: int, size: int) -> Stored:
        return Stored(name, "a", dtype, (size * 8 // BITS[dtype],), begin, begin + size)

    scales = [at(f"s{n}", "F32", 8 + n * 4, 4) for n in range(3)]
    codes = [at(f"c{n}", "F8_E4M3", 100 + n * 500, 500) for n in range(3)]
    plain = at("w", "BF16", 1600, 100)  # and the end of the range is 10 bytes further on
    norm = at("n", "F32", 1710, 800)
    block = [Piece(n, c, s) for n, c, s in zip("ABC", codes, scales, strict=True)]
    made = Layout(ordered([*block, Piece("w", plain), Piece("n", norm)]), {})
    assert [[p.name for p in unit.pieces] for unit in made.units()] == [[*"ABC", "w", "n"]]
    assert [[each.name for each in run] for run in runs(scales)] == [["s0", "s1", "s2"]]


def test_the_safetensors_library_takes_the_file(tmp_path: Path) -> None:
    block = ordered(
        Piece(f"ü.{n}", Stored(f"ü.{n}", "a", dtype, (3,), 0, 3 * BITS[dtype] // 8))
        for n, dtype in enumerate(DTYPES)
    )
    made = Layout(block, {"format": "pt", "mtp_from": "org/base"})
    file = tmp_path / "new.safetensors"
    file.write_bytes(made.head + bytes(made.data_size))
    with safe_open(file, "pt") as opened:
        assert opened.metadata() == {"format": "pt", "mtp_from": "org/base"}
        assert set(opened.keys()) == {piece.name for piece in block}
        for piece in block:
            assert tuple(opened.get_tensor(piece.name).shape) == piece.shape
    assert len(made.head) % 8 == 0


def test_a_range_is_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNIT", 8)
    block = tuple(
        Piece(f"w{n}", Stored(f"w{n}", "a", "BF16", (2,), n * 4, n * 4 + 4)) for n in range(4)
    )
    large = Piece("x", Stored("x", "a", "BF16", (50,), 16, 116))
    units = list(Layout((*block, large), {}).units())
    assert [[p.name for p in unit.pieces] for unit in units] == [["w0", "w1"], ["w2", "w3"], ["x"]]


def test_nothing_is_a_header_too() -> None:
    made = Layout((), {})
    assert (made.data_size, made.fetched, list(made.units())) == (0, 0, [])
    assert parse_header(made.header, data_size=0, file="new") == {}
