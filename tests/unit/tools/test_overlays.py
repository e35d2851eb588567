"""Recordings that state only what they have otherwise than another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools import overlays

RECORDED = Path(__file__).parents[2] / "conformance"
FIRST = {
    "legend": {"a": "Marlin", "-": "not asked"},
    "variants": {"base": {"config": {"layers": 2}, "ignores": {"none": [], "absent": None}}},
    "cases": {"base": {"": {"absent": {"built": "-" * 60}}, "fp8": {"none": {"built": "a" * 60}}}},
}


def stated(path: Path) -> dict[str, Any]:
    return {k: v for k, v in json.loads(path.read_text()).items() if k != overlays.SUM}


def changed() -> Any:
    found = json.loads(json.dumps(FIRST))
    del found["legend"]["a"]
    found["variants"]["base"]["ignores"] = {"absent": ["lm_head"], "null": None}
    found["cases"]["base"]["fp8"]["none"] = {"built": "." * 60, "packed": {}}
    return found


def test_what_equals_the_release_before_only_refers_to_it(tmp_path: Path) -> None:
    first, second, third = (tmp_path / r / "mimo.json" for r in ("0.9.0", "0.10.0", "0.11.0"))
    for path in (first, second, third):
        overlays.write(path, FIRST)
        assert overlays.read(path) == FIRST
    assert stated(first) == FIRST
    assert stated(second) == {"like": "0.9.0/mimo.json"}
    assert stated(third) == {"like": "0.10.0/mimo.json"}


def test_only_what_differs_is_stated(tmp_path: Path) -> None:
    overlays.write(tmp_path / "0.9.0" / "mimo.json", FIRST)
    overlays.write(tmp_path / "0.10.0" / "mimo.json", changed())
    assert overlays.read(tmp_path / "0.10.0" / "mimo.json") == changed()
    assert stated(tmp_path / "0.10.0" / "mimo.json") == {
        "like": "0.9.0/mimo.json",
        "legend": {"keys": ["-"]},
        "variants": {
            "base": {"ignores": {"keys": ["absent", "null"], "absent": ["lm_head"], "null": None}}
        },
        "cases": {"base": {"fp8": {"none": {"built": "." * 60, "packed": {}}}}},
    }


def test_the_order_of_keys_is_kept(tmp_path: Path) -> None:
    turned = dict(reversed(FIRST.items()))
    overlays.write(tmp_path / "0.9.0" / "mimo.json", FIRST)
    overlays.write(tmp_path / "0.10.0" / "mimo.json", turned)
    assert list(overlays.read(tmp_path / "0.10.0" / "mimo.json")) == list(turned)
    assert stated(tmp_path / "0.10.0" / "mimo.json") == {
        "like": "0.9.0/mimo.json",
        "keys": list(turned),
    }


def test_a_method_may_refer_to_the_main_recording_of_its_release(tmp_path: Path) -> None:
    overlays.write(tmp_path / "0.9.0" / "mimo.json", FIRST)
    overlays.write(tmp_path / "0.9.0" / "mimo_v2.json", FIRST)
    overlays.write(tmp_path / "0.9.0" / "mimo+fp8.json", changed())
    assert stated(tmp_path / "0.9.0" / "mimo_v2.json") == FIRST
    assert stated(tmp_path / "0.9.0" / "mimo+fp8.json")["like"] == "0.9.0/mimo.json"
    assert overlays.read(tmp_path / "0.9.0" / "mimo+fp8.json") == changed()


def test_all_is_stated_where_that_is_shorter(tmp_path: Path) -> None:
    overlays.write(tmp_path / "0.9.0" / "mimo.json", FIRST)
    overlays.write(tmp_path / "0.10.0" / "mimo.json", {"family": "mimo"})
    assert stated(tmp_path / "0.10.0" / "mimo.json") == {"family": "mimo"}


def test_a_new_recording_leaves_what_others_say_of_theirs(tmp_path: Path) -> None:
    first, second = (tmp_path / release / "mimo.json" for release in ("0.9.0", "0.10.0"))
    method, third = tmp_path / "0.9.0" / "mimo+fp8.json", tmp_path / "0.11.0" / "mimo.json"
    for path in (first, second, method, third):
        overlays.write(path, FIRST)
    overlays.write(first, changed())
    assert overlays.read(first) == changed()
    assert [overlays.read(path) for path in (second, method, third)] == [FIRST] * 3
    assert "absent" in stated(second)["variants"]["base"]["ignores"]


def test_a_change_behind_the_back_of_others_is_refused(tmp_path: Path) -> None:
    first, second = (tmp_path / release / "mimo.json" for release in ("0.9.0", "0.10.0"))
    for path in (first, second):
        overlays.write(path, FIRST)
    first.write_text(first.read_text().replace("Marlin", "Machete"), encoding="utf-8")
    for path in (first, second):
        with pytest.raises(ValueError, match="sha256"):
            overlays.read(path)


def test_a_folder_that_is_no_release_has_no_neighbours(tmp_path: Path) -> None:
    overlays.write(tmp_path / "0.9.0" / "mimo.json", FIRST)
    overlays.write(tmp_path / "scratch" / "mimo.json", FIRST)
    assert stated(tmp_path / "scratch" / "mimo.json") == FIRST


@pytest.mark.parametrize(
    "path",
    sorted(RECORDED.glob("*/glm4_moe*.json")) + sorted(RECORDED.glob("*/release.json")),
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_recordings_are_as_the_tool_writes_them(path: Path) -> None:
    form = overlays._shortest(path, overlays.read(path))
    assert path.read_text(encoding="utf-8") == f"{overlays._text(form)}\n"
