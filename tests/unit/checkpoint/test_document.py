"""JSON documents: where values stand, and on which line."""

from __future__ import annotations

import pytest

from mtpfix.checkpoint.document import JsonDocument
from mtpfix.errors import BrokenFileError, UsageError
from tests.unit.repair.edits import locate


def test_deep_nesting_is_refused_in_one_line():
    raw = b"[" * 200_000 + b"]" * 200_000
    for call in (locate, lambda raw, pointer: JsonDocument(raw).line_of(pointer)):
        with pytest.raises(BrokenFileError, match="nested too deeply"):
            call(raw, "/0")


def test_a_span_covers_the_value_and_knows_where_its_key_begins():
    raw = '\ufeff{"é": [10, {"b" : "x"}]}'.encode()
    span = locate(raw, "/é/1/b")
    assert raw[span.begin : span.end] == b'"x"'
    assert raw[span.start : span.end] == b'"b" : "x"'


def test_locating_what_is_absent_is_refused():
    with pytest.raises(UsageError, match="there is no /a/b"):
        locate(b'{"a": {}}', "/a/b")


def test_locating_behind_a_repeated_key_is_refused():
    with pytest.raises(BrokenFileError, match="stands 2 times"):
        locate(b'{"a": {"b": 1}, "a": {"b": 1}}', "/a/b")


def test_a_repeated_key_beside_the_way_does_no_harm():
    assert locate(b'{"x": 1, "x": 2, "a": 3}', "/a").begin == 22


@pytest.mark.parametrize(
    ("pointer", "line"),
    [("", 2), ("/a", 2), ("/l", 3), ("/l/0", 4), ("/l/1", 5), ("/l/2", None), ("/x", None)],
)
def test_lines_are_counted_from_one(pointer: str, line: int | None):
    document = JsonDocument(b'\n{"a": 1,\r\n"l": [\r\n1,\r\n2]}')
    assert document.line_of(pointer) == line


def test_a_repeated_key_has_no_line():
    assert JsonDocument(b'{"a": {"b": 1},\n"a": {"b": 1}}').line_of("/a/b") is None


def test_many_lines_come_from_one_scan_in_the_order_asked():
    raw = b'{\n"a": 1,\n"b": 2}'
    assert JsonDocument(raw).lines_of(["/b", "/c", "/a", "/b"]) == (3, None, 2, 3)
