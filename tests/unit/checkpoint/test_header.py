import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mtpfix.checkpoint.header import BITS, HEADER_LIMIT, header_length, parse_header
from mtpfix.errors import BrokenFileError, MtpfixError
from mtpfix.model import Tensor

U8 = {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}


def parse(table, data_size=2):
    raw = table if isinstance(table, bytes) else json.dumps(table).encode()
    return parse_header(raw, data_size=data_size, file="m.safetensors")


def fault(table, data_size=2):
    with pytest.raises(BrokenFileError) as caught:
        parse(table, data_size)
    message = caught.value.message
    assert message.startswith("'m.safetensors'")
    assert message.isprintable()
    assert caught.value.remedy
    return message


def split(blob):
    length = header_length(blob[:8], len(blob), file="m")
    return blob[8 : 8 + length], len(blob) - 8 - length


# --- length ------------------------------------------------------------------


def test_length_is_read_little_endian():
    assert header_length(struct.pack("<Q", 300), 1000, file="m") == 300


@pytest.mark.parametrize(
    ("first8", "size", "words"),
    [
        (b"", 0, "too few"),
        (b"1234567", 7, "too few"),
        (struct.pack("<Q", 0), 100, "empty header"),
        (struct.pack("<Q", HEADER_LIMIT + 1), 2 * HEADER_LIMIT, "are allowed"),
        (struct.pack("<Q", 93), 100, "but has 100 in all"),
        (b"\xff" * 8, 100, "are allowed"),
        (b"version ", 130, "Git LFS pointer"),
    ],
)
def test_impossible_length_is_refused(first8, size, words):
    with pytest.raises(BrokenFileError, match=words) as caught:
        header_length(first8, size, file="m")
    assert caught.value.remedy


# --- what is accepted --------------------------------------------------------


def test_entry_becomes_a_tensor_and_metadata_is_dropped():
    table = {"__metadata__": {"format": "pt"}, "a.weight": U8}
    assert parse(table) == {"a.weight": Tensor("U8", (2,), 0, 2)}


def test_fields_may_come_in_any_order_with_others_beside_them():
    entry = {"data_offsets": [0, 2], "more": None, "shape": [2], "dtype": "I8"}
    assert parse({"a": entry}) == {"a": Tensor("I8", (2,), 0, 2)}


def test_tensors_may_be_named_like_the_fields():
    one = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}
    two = {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}
    nothing = {"dtype": "U8", "shape": [0], "data_offsets": [2, 2]}
    table = parse({"dtype": one, "shape": two, "data_offsets": nothing})
    assert set(table) == {"dtype", "shape", "data_offsets"}


def test_no_tensors_at_all_is_legal():
    assert parse({}, data_size=0) == {}


def test_padding_behind_the_header_is_legal():
    assert parse(json.dumps({"a": U8}).encode() + b"   ")


def test_empty_tensors_share_an_offset():
    empty = {"dtype": "F32", "shape": [0, 4], "data_offsets": [2, 2]}
    assert len(parse({"a": U8, "b": empty, "c": empty})) == 3


@pytest.mark.parametrize("dtype", sorted(BITS))
def test_every_dtype_of_the_format_is_known(dtype):
    size = BITS[dtype]  # 8 elements
    entry = {"dtype": dtype, "shape": [2, 4], "data_offsets": [0, size]}
    assert parse({"a": entry}, data_size=size)["a"].dtype == dtype


@pytest.mark.parametrize("dtype", sorted(BITS))
def test_dtypes_have_the_size_that_the_formats_own_reader_gives_them(dtype, tmp_path):
    size = BITS[dtype]
    raw = json.dumps({"a": {"dtype": dtype, "shape": [8], "data_offsets": [0, size]}}).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(size))
    try:
        with safe_open(path, "np") as file:
            assert list(file.keys()) == ["a"]
    except SafetensorError as error:  # the oldest reader that we install beside knows fewer
        newer = dtype in {"C64", "F8_E4M3FNUZ", "F8_E5M2FNUZ"}
        if not newer or f"unknown variant `{dtype}`" not in str(error):
            raise


# --- what is refused ---------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\xff\xfe", "does not begin"),
        (b"[]", "does not begin"),
        (b'{"a\xff": 1}', "not UTF-8"),
        (b'{"a": }', "not JSON"),
        (b"{}\x00", "not JSON"),
        (b'{"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}', "no table of tensors"),
        (b'{"a": {}, "b": {}, "a": {}}', "key 'a' twice"),
        (b'{"a": {"dtype": "U8", "dtype": "U8", "shape": [2]}}', "key 'dtype' twice"),
        (b'{"a": {"dtype": "U8", "shape": [NaN], "data_offsets": [0, 2]}}', "NaN"),
        (b'{"a": {"dtype": "U8", "shape": [1e999], "data_offsets": [0, 2]}}', "out of range"),
        (b'{"a": {"dtype": "U8", "shape": [%s], "data_offsets": [0, 2]}}' % (b"9" * 5000), "range"),
        (b'{"\\ud800": 1}', "surrogate"),
        (b'{"a":' * 100_000, "nested too deep"),
        (b'{"a":' * 80 + b"1" + b"}" * 80, "64 levels"),
    ],
)
def test_text_that_is_no_header_is_refused(raw, words):
    assert words in fault(raw)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        1,
        [],
        {},
        "U8",
        ["U8", [2], [0, 2]],
        {**U8, "dtype": 8},
        {**U8, "shape": 2},
        {**U8, "shape": {"0": 2}},
        {**U8, "data_offsets": [0]},
        {**U8, "data_offsets": [0, 2, 4]},
        {"dtype": "U8", "shape": [2]},
    ],
)
def test_entry_of_another_form_is_refused(entry):
    assert "no entry of the form" in fault({"a": entry})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtype": "F7"}, "unknown dtype 'F7'"),
        ({"dtype": ""}, "unknown dtype"),
        ({"shape": [2.0]}, "whole numbers"),
        ({"shape": [True, 2]}, "whole numbers"),
        ({"shape": ["2"]}, "whole numbers"),
        ({"shape": [None]}, "whole numbers"),
        ({"shape": [[2]]}, "whole numbers"),
        ({"shape": [U8]}, "whole numbers"),
        ({"shape": [-2]}, "whole numbers"),
        ({"shape": [-1, -2]}, "whole numbers"),
        ({"shape": [1] * 65}, "65 dimensions"),
        ({"shape": [3]}, "do not fit"),
        ({"shape": []}, "do not fit"),
        ({"shape": [2**62, 2**62]}, "do not fit"),
        ({"data_offsets": [False, 2]}, "whole numbers"),
        ({"data_offsets": [0, 2.0]}, "whole numbers"),
        ({"data_offsets": [-2, 0]}, "whole numbers"),
        ({"data_offsets": [2, 0]}, "ends before"),
        ({"data_offsets": [0, 4], "shape": [4]}, "cut short"),
        ({"data_offsets": [0, 2**63]}, "cut short"),
    ],
)
def test_impossible_entry_is_refused(change, words):
    assert words in fault({"a": {**U8, **change}})


def test_sub_byte_tensor_must_fill_its_bytes():
    entry = {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}
    assert "do not fit F4" in fault({"a": entry})


def test_overlap_is_refused():
    other = {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]}
    assert "'b' overlaps" in fault({"a": U8, "b": other}, data_size=3)


def test_gap_is_refused():
    other = {"dtype": "U8", "shape": [2], "data_offsets": [3, 5]}
    assert "'b' leaves a gap" in fault({"a": U8, "b": other}, data_size=5)


def test_bytes_behind_the_last_tensor_are_refused():
    assert "8 bytes at the end" in fault({"a": U8}, data_size=10)


@pytest.mark.parametrize("metadata", [[], "pt", {"a": 1}, {"a": None}, U8])
def test_metadata_of_another_form_is_refused(metadata):
    assert "__metadata__" in fault({"__metadata__": metadata, "a": U8})


def test_hostile_name_is_printed_escaped_and_cut():
    message = fault({"\x1b[31m\n\u202e" + "x" * 100_000: 1})
    assert "\\x1b[31m\\n\\u202e" in message
    assert len(message) < 250


def test_line_of_a_fault_is_named():
    assert "line 3" in fault(b'{\n"a": 1,\n"a": 2}')


# --- against the format's own library ----------------------------------------

DTYPES = ["float16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool"]
TABLES = st.dictionaries(
    st.text(min_size=1).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3)),
    max_size=6,
)


def written(table):
    return save({name: np.zeros(shape, dtype) for name, (dtype, shape) in table.items()})


def theirs(blob, path):
    path.write_bytes(blob)
    with safe_open(path, "np") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {name: (it.get_dtype(), tuple(it.get_shape())) for name, it in slices.items()}


def ours(blob):
    raw, data_size = split(blob)
    table = parse_header(raw, data_size=data_size, file="m")
    return {name: (tensor.dtype, tensor.shape) for name, tensor in table.items()}


@given(table=TABLES)
def test_reads_what_the_formats_own_writer_wrote(table, tmp_path_factory):
    blob = written(table)
    assert ours(blob) == theirs(blob, tmp_path_factory.getbasetemp() / "round.safetensors")


@given(table=TABLES.filter(bool), data=st.data())
def test_changed_bytes_are_refused_or_read_as_the_format_reads_them(table, data, tmp_path_factory):
    blob = bytearray(written(table))
    end = 8 + int.from_bytes(blob[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        blob[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    try:
        found = ours(bytes(blob))
    except MtpfixError:
        return
    assert found == theirs(blob, tmp_path_factory.getbasetemp() / "changed.safetensors")


@given(raw=st.binary(max_size=60), data_size=st.integers(0, 8))
def test_any_bytes_are_read_or_refused(raw, data_size):
    try:
        parse_header(b"{" + raw, data_size=data_size, file="m")
    except BrokenFileError as error:
        message = error.message
    else:
        message = ""
    assert message.isprintable()


# --- size --------------------------------------------------------------------


def test_many_entries_are_parsed():
    count = 28_000
    table = {
        f"model.layers.1.mlp.experts.{number}.w1.weight_scale": {
            "dtype": "BF16",
            "shape": [2, 1],
            "data_offsets": [4 * number, 4 * number + 4],
        }
        for number in range(count)
    }
    assert len(parse(table, data_size=4 * count)) == count
