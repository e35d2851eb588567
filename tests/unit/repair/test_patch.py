"""Edits of JSON text: the right meaning, and no other byte."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtpfix.checkpoint.document import JsonDocument
from mtpfix.errors import BrokenFileError, UsageError
from mtpfix.model import Edit
from mtpfix.repair import patch
from mtpfix.repair.diff import diff
from tests.unit.repair.edits import edit


def applied(text: str, *edits: Edit) -> str:
    return patch.apply(text.encode(), edits).decode()


# --- appending ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('{"l": ["a", "b"]}', '{"l": ["a", "b", "c"]}'),
        ('{"l":["a","b"]}', '{"l":["a","b","c"]}'),
        ('{"l": ["a" , "b"]}', '{"l": ["a" , "b" , "c"]}'),
        ('{"l": [ "a", "b" ]}', '{"l": [ "a", "b", "c" ]}'),
        ('{"l": ["a"]}', '{"l": ["a", "c"]}'),
        ('{"l":["a"]}', '{"l":["a","c"]}'),
        ('{"l":[]}', '{"l":["c"]}'),
        ('{\n  "l": [\n    "a"\n  ]\n}\n', '{\n  "l": [\n    "a",\n    "c"\n  ]\n}\n'),
        (
            '{\r\n\t"l": [\r\n\t\t"a"\r\n\t]\r\n}',
            '{\r\n\t"l": [\r\n\t\t"a",\r\n\t\t"c"\r\n\t]\r\n}',
        ),
        ('{\n "l": [ "a"\n , "b"\n ]}', '{\n "l": [ "a"\n , "b"\n , "c"\n ]}'),
        ('{\n    "l": []\n}', '{\n    "l": [\n        "c"\n    ]\n}'),
        ('{\n  "k": ["x", "y"],\n  "l": []\n}', '{\n  "k": ["x", "y"],\n  "l": ["c"]\n}'),
        (
            '{\n  "l": [\n    1, 2,\n    3\n  ]\n}',
            '{\n  "l": [\n    1, 2,\n    3,\n    "c"\n  ]\n}',
        ),
    ],
)
def test_an_appended_item_imitates_its_neighbours_or_else_the_document(old: str, new: str):
    assert applied(old, edit("add", "/l/-", "c")) == new


def test_several_appended_items_keep_the_order_of_the_edits():
    edits = [edit("add", "/-", letter) for letter in "xyz"]
    assert applied('["a"]', *edits) == '["a", "x", "y", "z"]'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('{"q": {"a": 1}}', '{"q": {"a": 1, "l": ["c", "d"]}}'),
        ('{"q":{"a":1}}', '{"q":{"a":1,"l":["c","d"]}}'),
        ('{"q": {}}', '{"q": {"l": ["c", "d"]}}'),
        (
            '{\n  "q": {\n    "a": 1\n  }\n}',
            '{\n  "q": {\n    "a": 1,\n    "l": [\n      "c",\n      "d"\n    ]\n  }\n}',
        ),
        (
            '{\n  "k": ["x"],\n  "q": {\n    "a": 1\n  }\n}',
            '{\n  "k": ["x"],\n  "q": {\n    "a": 1,\n    "l": ["c", "d"]\n  }\n}',
        ),
    ],
)
def test_a_missing_list_is_created_in_the_style_of_the_document(old: str, new: str):
    assert applied(old, edit("add", "/q/l/-", "c"), edit("add", "/q/l/-", "d")) == new


def test_more_than_one_missing_level_is_refused():
    with pytest.raises(UsageError, match="there is no /q"):
        applied("{}", edit("add", "/q/l/-", "c"))


def test_appending_to_an_object_is_refused():
    with pytest.raises(BrokenFileError, match="an object stands where a list is expected"):
        applied('{"l": {}}', edit("add", "/l/-", "c"))


@pytest.mark.parametrize("value", ["null", '"text"', "3"])
def test_appending_to_a_scalar_is_refused(value: str):
    with pytest.raises(BrokenFileError, match="value without items"):
        applied(f'{{"l": {value}}}', edit("add", "/l/-", "c"))


# --- inserting, adding keys --------------------------------------------------


def test_an_item_is_inserted_before_the_original_item_of_its_index():
    edits = [edit("add", "/1", "x"), edit("add", "/0", "y"), edit("add", "/1", "z")]
    assert applied('["a", "b"]', *edits) == '["y", "a", "x", "z", "b"]'


def test_the_index_after_the_last_item_appends():
    assert applied('["a"]', edit("add", "/1", "b")) == '["a", "b"]'


@pytest.mark.parametrize("index", ["3", "01", "-1", "x"])
def test_an_index_that_the_list_has_no_place_for_is_refused(index: str):
    with pytest.raises(UsageError, match="no such place"):
        applied('["a"]', edit("add", f"/{index}", "b"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('{"a": 1}', '{"a": 1, "k": null}'),
        ('{"a" : 1}', '{"a" : 1, "k" : null}'),
        ("{}", '{"k": null}'),
        ('{\n "a": 1\n}', '{\n "a": 1,\n "k": null\n}'),
    ],
)
def test_a_new_key_is_appended(old: str, new: str):
    assert applied(old, edit("add", "/k")) == new


def test_adding_a_key_that_exists_replaces_its_value_in_place():
    assert applied('{"a": 1, "b": 2}', edit("add", "/a", 3)) == '{"a": 3, "b": 2}'


def test_a_new_object_is_spread_over_lines_where_its_neighbours_are():
    new = applied('{\n  "a": 1\n}', edit("add", "/k", {"x": [1], "y": {}}))
    assert new == json.dumps({"a": 1, "k": {"x": [1], "y": {}}}, indent=2)


# --- removing ----------------------------------------------------------------

LINES = '{\n  "l": [\n    "a",\n    "b",\n    "c"\n  ]\n}\n'


@pytest.mark.parametrize(
    ("indexes", "left"),
    [("0", "bc"), ("1", "ac"), ("2", "ab"), ("01", "c"), ("12", "a"), ("02", "b"), ("20", "b")],
)
def test_removal_leaves_no_comma_and_no_blank_line(indexes: str, left: str):
    new = applied(LINES, *(edit("remove", f"/l/{index}") for index in indexes))
    assert new == json.dumps({"l": list(left)}, indent=2) + "\n"


def test_a_container_that_loses_all_its_items_becomes_empty():
    edits = [edit("remove", f"/l/{index}") for index in range(3)]
    assert applied(LINES, *edits) == '{\n  "l": []\n}\n'


def test_a_key_is_removed_with_its_value():
    assert applied('{"a": 1, "b": [2], "c": 3}', edit("remove", "/b")) == '{"a": 1, "c": 3}'


def test_all_items_may_be_exchanged_at_once():
    edits = [*(edit("remove", f"/l/{index}") for index in range(3)), edit("add", "/l/-", "x")]
    assert applied(LINES, *edits) == '{\n  "l": [\n    "x"\n  ]\n}\n'


def test_removals_and_additions_of_one_call_do_not_shift_each_other():
    edits = [
        edit("remove", "/0"),
        edit("add", "/2", "x"),
        edit("replace", "/2", "C"),
        edit("remove", "/1"),
        edit("add", "/0", "y"),
        edit("add", "/-", "z"),
    ]
    assert applied('["a", "b", "c", "d"]', *edits) == '["y", "x", "C", "d", "z"]'


# --- replacing ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        ('{"k" : 1.50 , "z": 1e5}', 2, '{"k" : 2 , "z": 1e5}'),
        ('{\n  "k": [1, 2]\n}', [3, 4], '{\n  "k": [3, 4]\n}'),
        ('{\n  "k": [\n    1\n  ]\n}', [3, 4], '{\n  "k": [\n    3,\n    4\n  ]\n}'),
        ('{\n  "k": null\n}', [3], '{\n  "k": [\n    3\n  ]\n}'),
        ('{"k": null}', [3, 4], '{"k": [3, 4]}'),
    ],
)
def test_a_replacement_is_spread_as_the_old_value_was(old: str, value: Any, new: str):
    assert applied(old, edit("replace", "/k", value)) == new


@pytest.mark.parametrize("op", ["replace", "add"])
def test_the_empty_pointer_is_the_document(op: str):
    assert applied(" [1]\n", edit(op, "", {"a": 1})) == ' {"a": 1}\n'


def test_the_document_cannot_be_removed():
    with pytest.raises(UsageError, match="nothing to remove"):
        applied("[1]", edit("remove", ""))


def test_true_in_place_of_one_is_a_change():
    assert applied('{"k": 1}', edit("replace", "/k", True)) == '{"k": true}'


# --- what stays --------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '\ufeff{"l": ["a"], "n": 1.0E+05, "s": "\\u00e9\\/"}',
        '{"n": [1.50, -0, NaN, -Infinity, 1e999], "l": ["a"]}\n\n',
        ' {"a":1 ,\t"l" :["a"],"b":  {  }  }',
        '{"d": 1, "l": ["a"], "d": 2}',
    ],
)
def test_spelling_elsewhere_stays(text: str):
    before, after = text.split('["a"')
    new = applied(text, edit("add", "/l/-", "b"))
    assert new.startswith(before + '["a"')
    assert new.endswith('"b"' + after)


def test_no_edits_change_nothing():
    assert applied(" {}", *[]) == " {}"


def test_non_ascii_is_escaped_in_an_ascii_file():
    assert applied('["a"]', edit("add", "/-", "é")) == '["a", "\\u00e9"]'


def test_non_ascii_is_raw_where_the_file_holds_some():
    assert applied('["ü"]', edit("add", "/-", "é")) == '["ü", "é"]'


def test_a_bom_does_not_count_as_non_ascii():
    assert applied('\ufeff["a"]', edit("add", "/-", "é")) == '\ufeff["a", "\\u00e9"]'


def test_a_lone_surrogate_is_always_escaped():
    assert applied('["ü"]', edit("add", "/-", "\ud800")) == '["ü", "\\ud800"]'


def test_a_key_is_found_behind_its_escapes():
    assert applied('{"a/b~\\u00e9": [1]}', edit("add", "/a~1b~0é/-", 2)) == (
        '{"a/b~\\u00e9": [1, 2]}'
    )


def test_brackets_and_quotes_inside_strings_are_text():
    assert applied('{"a": "]},\\":[", "l": ["x[\\\\"]}', edit("add", "/l/-", 1)) == (
        '{"a": "]},\\":[", "l": ["x[\\\\", 1]}'
    )


# --- refusals ----------------------------------------------------------------


@pytest.mark.parametrize("pointer", ["a", "/a~", "/a~2"])
def test_a_malformed_pointer_is_refused(pointer: str):
    with pytest.raises(UsageError, match="is not a JSON pointer"):
        applied('{"a": 1}', edit("replace", pointer, 1))


@pytest.mark.parametrize("op", ["remove", "replace"])
@pytest.mark.parametrize("pointer", ["/b", "/l/1", "/l/-", "/l/00"])
def test_changing_what_is_absent_is_refused(op: str, pointer: str):
    with pytest.raises(UsageError, match=f"there is nothing to {op}"):
        applied('{"l": [1]}', edit(op, pointer, 1))


@pytest.mark.parametrize(
    "edits",
    [
        [edit("remove", "/a"), edit("replace", "/a", 1)],
        [edit("add", "/n", 1), edit("add", "/n", 2)],
        [edit("replace", "/a", {}), edit("add", "/a/l/-", 1)],
        [edit("add", "/a/l/-", 1), edit("remove", "/a")],
        [edit("add", "/a/m", []), edit("add", "/a/m/-", 1)],
        [edit("replace", "", {}), edit("remove", "/a")],
    ],
)
def test_edits_that_contradict_each_other_are_refused(edits: list[Edit]):
    with pytest.raises(UsageError, match=r"two edits|another edit|there is no"):
        applied('{"a": {"l": []}}', *edits)


def test_edits_of_two_files_are_refused():
    with pytest.raises(UsageError, match="one file"):
        patch.apply(b"{}", [Edit("a", "/x", "add"), Edit("b", "/y", "add")])


@pytest.mark.parametrize("pointer", ["/q/l/-", "/q"])
def test_a_repeated_key_on_the_way_is_refused(pointer: str):
    with pytest.raises(BrokenFileError, match="stands 2 times") as caught:
        applied('{"q": {"l": []}, "q": {"l": []}}', edit("add", pointer, 1))
    assert caught.value.remedy


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[1,]",
        b"[1}",
        b'{"a" 1}',
        b"[01]",
        b'["\x01"]',
        b'["\\x"]',
        b"[1] 2",
        b'["\xff"]',
        b'"\xed\xa0\x80"',
        "[1]".encode("utf-16"),
        b"[" + b"9" * 5000 + b"]",
    ],
)
def test_what_is_not_json_is_refused(raw: bytes):
    with pytest.raises(BrokenFileError):
        patch.apply(raw, [edit("add", "/-", 1)])


# --- diff --------------------------------------------------------------------


def test_a_diff_names_the_file_and_shows_three_lines_of_context():
    old = json.dumps({"a": 1, "l": list("uvwxyz")}, indent=1).encode() + b"\n"
    new = patch.apply(old, [edit("remove", "/l/3")])
    assert diff(old, new, "config.json") == (
        "--- a/config.json\n+++ b/config.json\n@@ -4,7 +4,6 @@\n"
        '   "u",\n   "v",\n   "w",\n-  "x",\n   "y",\n   "z"\n  ]\n'
    )


def test_a_missing_final_newline_is_marked():
    assert diff(b"1", b"2", "c") == (
        "--- a/c\n+++ b/c\n@@ -1 +1 @@\n"
        "-1\n\\ No newline at end of file\n+2\n\\ No newline at end of file\n"
    )


def test_equal_texts_have_no_diff():
    assert diff(b"[\n1]", b"[\n1]", "c") == ""


lines = st.lists(st.sampled_from(["a", "b\r", "c\u2028d", "\x0c", "", "é"]), max_size=12)


@given(lines, lines, st.booleans(), st.booleans())
def test_a_diff_turns_the_old_text_into_the_new(
    tmp_path_factory: Any, old: list[str], new: list[str], old_ends: bool, new_ends: bool
):
    before = "\n".join(old) + "\n" * old_ends
    after = "\n".join(new) + "\n" * new_ends
    assert replay(before, diff(before.encode(), after.encode(), "c")) == after


def replay(text: str, diff: str) -> str:
    """Applies a unified diff, checking every line that it says is there."""
    source, result, at = text.split("\n"), list[str](), 0
    chunks = diff.split("\n")[2:-1]
    ended: dict[str, bool] = {}
    for number, line in enumerate(chunks):
        if line.startswith("@@"):
            begin, _, size = line.split()[1][1:].partition(",")
            start = int(begin) - (size != "0")
            result += source[at:start]
            at = start
        elif line.startswith("\\"):
            ended[chunks[number - 1][0]] = True
        else:
            if line[0] in " -":
                assert source[at] == line[1:]
                at += 1
            if line[0] in " +":
                result.append(line[1:])
    rest = source[at:]
    if not rest or rest == [""]:
        # The hunks reach the end: the marks alone say whether a newline is there.
        unended = ended.get("+") or ended.get(" ")
        return "\n".join(result) + ("" if unended or not result else "\n")
    return "\n".join([*result, *rest])


def test_git_applies_a_diff_with_crlf_and_no_final_newline(tmp_path: Any):
    old = b'{\r\n  "l": [\r\n    "a"\r\n  ]\r\n}'
    new = patch.apply(old, [edit("add", "/l/-", "b"), edit("add", "/z", 1)])
    (tmp_path / "config.json").write_bytes(old)
    (tmp_path / "change.diff").write_bytes(diff(old, new, "config.json").encode())
    subprocess.run(["git", "apply", "change.diff"], cwd=tmp_path, check=True)  # noqa: S607
    assert (tmp_path / "config.json").read_bytes() == new


# --- size --------------------------------------------------------------------


def test_many_edits_of_a_long_list_take_one_scan(monkeypatch: pytest.MonkeyPatch):
    scans, scan = [], JsonDocument.scan
    monkeypatch.setattr(JsonDocument, "scan", lambda *args: scans.append(1) or scan(*args))
    raw = json.dumps({"q": {"ignore": [f"layers.{n}" for n in range(20_000)]}}, indent=2).encode()
    edits = [edit("remove", f"/q/ignore/{n}") for n in range(0, 20_000, 9)]
    new = patch.apply(raw, [*edits, edit("add", "/q/ignore/-", "x")])
    assert len(scans) == 1
    assert len(json.loads(new)["q"]["ignore"]) == 20_000 - len(edits) + 1
    assert diff(raw, new, "c").count("\n-") == len(edits) + 1  # and the last comma
