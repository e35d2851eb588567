"""Folding of releases, platforms and layers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtpfix.report import ranges

KNOWN = ("0.20.2", "0.21.0", "0.22.1", "0.23.0", "0.24.0")


@pytest.mark.parametrize(
    ("chosen", "known", "text"),
    [
        (KNOWN[:4], KNOWN, "0.20-0.23"),
        (KNOWN, KNOWN, "0.20-0.24"),
        (("0.24.0", "0.20.2", "0.21.0"), KNOWN, "0.20-0.21, 0.24"),
        (KNOWN, tuple(reversed(KNOWN)), "0.20-0.24"),
        (("0.20.2", "0.24.0"), ("0.20.2", "0.24.0"), "0.20-0.24"),
        (("0.32.0",), ("0.32.0",), "0.32.0"),
        (("0.9.0", "0.10.0"), ("0.10.0", "0.9.0"), "0.9-0.10"),
        (("0.24.0",), ("0.24.0", "0.24.1"), "0.24.0"),
        (("0.33.0rc1", "0.33.0"), ("0.33.0", "0.33.0rc1", "0.34.0"), "0.33.0rc1-0.33.0"),
        (("0.99.0",), KNOWN, "0.99"),
        (("main",), ("main",), "main"),
        ((), KNOWN, ""),
    ],
)
def test_releases(chosen: tuple[str, ...], known: tuple[str, ...], text: str) -> None:
    assert ranges.releases(chosen, known) == text


def test_a_foreign_release_is_inert() -> None:
    assert ranges.releases(["0\x1b[2J"], []) == r"0\x1b[2J"


def test_platforms_with_the_same_releases_share_them() -> None:
    known = [(release, platform) for release in KNOWN for platform in ("cuda", "rocm", "xpu")]
    chosen = [p for p in known if p[1] != "xpu" or p[0] == "0.24.0"]
    assert ranges.labels(chosen, known) == "0.20-0.24 on cuda, rocm; 0.24 on xpu"


def test_without_a_platform_only_releases_are_named() -> None:
    assert ranges.labels([(KNOWN[0], "")], [(r, "cuda") for r in KNOWN]) == "0.20"


def test_a_label_is_taken_apart() -> None:
    assert ranges.parse_label("0.32.0 (cuda)") == ("0.32.0", "cuda")
    assert ranges.parse_label("0.32.0") == ("0.32.0", "")


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        ([], ""),
        ([7], "7"),
        ([3, 4, 5], "3-5"),
        ([5, 0, 1, 1], "0-1, 5"),
        ([0, 10**9], "0, 1000000000"),
    ],
)
def test_numbers(chosen: list[int], text: str) -> None:
    assert ranges.numbers(chosen) == text


@given(st.sets(st.integers(0, 30)), st.lists(st.integers(0, 30), unique=True))
def test_runs_hold_the_chosen_members_in_order(chosen: set[int], order: list[int]) -> None:
    found = [item for run in ranges.runs(chosen, order) for item in run]
    assert found == [item for item in order if item in chosen]


@given(st.lists(st.text(max_size=8), max_size=6))
def test_any_release_can_be_sorted(names: list[str]) -> None:
    assert ranges.releases(names, names).isprintable()


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [([3], "3"), ([3, 3], "3"), ([0, 1, 2, 5], "{0-2,5}"), ([0, 2], "{0,2}")],
)
def test_numbers_are_one_part_of_a_name(chosen: list[int], expected: str) -> None:
    assert ranges.part(chosen) == expected
