import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtpfix.checkpoint.strict_json import loads, shown
from mtpfix.errors import BrokenFileError


@given(st.binary(max_size=40) | st.text(alphabet='{}[]",:\\ud8a1NaInfity-.e \n', max_size=40))
def test_any_text_is_read_or_refused(text):
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    try:
        value = loads(raw, "f")
    except BrokenFileError as error:
        message = error.message
    else:
        message = ""
        assert value == json.loads(raw.decode("utf-8"))
    assert message.isprintable()


@given(st.text())
def test_shown_names_are_short_and_printable(name):
    assert shown(name).isprintable()
    assert len(shown(name * 50)) <= 120


def test_short_names_are_shown_whole():
    assert shown("model.safetensors") == "'model.safetensors'"


def test_long_names_are_shown_by_both_ends():
    assert shown("a" * 500 + "z").startswith("'aaa")
    assert shown("a" * 500 + "z").endswith("az'")


@pytest.mark.parametrize("raw", [b"18446744073709551615", b"-18446744073709551615"])
def test_numbers_of_64_bits_are_read(raw):
    assert loads(raw, "f") == int(raw)


def test_longer_numbers_are_refused():
    with pytest.raises(BrokenFileError, match="out of range"):
        loads(b"1" * 30, "f")


def test_a_byte_order_mark_is_refused_as_vllm_refuses_it():
    with pytest.raises(BrokenFileError, match="byte order mark") as caught:
        loads(b"\xef\xbb\xbf{}", "config.json")
    assert "UTF-8" in caught.value.remedy
