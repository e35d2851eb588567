"""Public threads about SGLang: each a checkpoint, judged as `sglang.json` says.

What the real SGLang made of it is recorded beside that, by `python -m tools.sglang_cases --real`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.prove_sglang import foreseen
from tools.sglang_cases import PAGE, helped, judged, kept, made, page

THREADS = (20439, 23113, 23424, 30265, 32440, 34622, 34906, 35797, 36158, 36599, 36786, 38574)
"""Numbers of threads that must be here, among others."""
CASES = kept()
RELEASE = "0.5.23"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_case_is_judged_and_helped(case: dict[str, Any], tmp_path: Path) -> None:
    folder = made(case, tmp_path / "model")
    assert judged(folder) == case["judged"]
    assert foreseen(folder, RELEASE) == case["draft"]
    assert helped(folder) == case["helps"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_what_is_foreseen_is_what_a_real_one_does(case: dict[str, Any]) -> None:
    real = case["real"]
    assert case["threads"]
    assert real["release"] == RELEASE
    if case["draft"] != "unknown":
        assert (case["draft"] == "clean") == (real["before"] == "clean")
    if case["helps"]["by"] != "nothing" and "left" not in case["helps"]:
        assert real["after"] == "clean"


def test_the_threads_are_here() -> None:
    numbers = {link.rpartition("/")[2] for case in CASES for link in case["threads"]}
    assert {str(number) for number in THREADS} <= numbers
    assert len({case["name"] for case in CASES}) == len(CASES)


def test_the_page_is_made_from_the_cases() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tools.sglang_cases --page"
