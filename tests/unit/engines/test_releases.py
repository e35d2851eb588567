"""Releases of an engine whose third number tells them apart."""

from __future__ import annotations

import pytest

from mtpfix.engines.releases import is_newer, later_releases, select_releases, unknown_patches
from mtpfix.errors import UnknownError, UsageError

COVERED = ("0.5.13", "0.5.22", "0.5.23")


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ("newest", ("0.5.23",)),
        ("latest", ("0.5.23",)),
        ("v0.5.22", ("0.5.22",)),
        ("0.5.22", ("0.5.22",)),
        ("0.5.22.post1", ("0.5.22.post1",)),
        (">=0.5.22", ("0.5.22", "0.5.23")),
        ("0.5.24", ("0.5.24",)),
        ("0.6", ("0.6.0",)),
    ],
)
def test_the_third_number_counts(wanted: str, chosen: tuple[str, ...]) -> None:
    assert select_releases([wanted], COVERED, "SGLang", 3) == chosen


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (">=0.5.24", "0.5.24"),
        (">0.5.23", "0.5.24"),
        (">=0.6", "0.6.0"),
        ("==0.6.*", "0.6.0"),
        ("~=0.7.2", "0.7.2"),
        (">=0.5.24,!=0.5.24", "0.5.25"),
    ],
)
def test_a_specifier_that_only_newer_releases_match_is_the_first_of_them(
    wanted: str, named: str
) -> None:
    assert select_releases([wanted], COVERED, "SGLang", 3) == (named,)
    assert select_releases([named], COVERED, "SGLang", 3) == (named,)


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [(">=0.35", "0.35.0"), (">0.33", "0.34.0"), ("==0.35.1", "0.35.1"), (">=0.33.5", "0.33.5")],
)
def test_of_an_engine_whose_patches_do_not_count(wanted: str, chosen: str) -> None:
    assert select_releases([wanted], ("0.32.0", "0.33.0"), "vLLM") == (chosen,)


@pytest.mark.parametrize("wanted", ["<0.5.13", ">=0.1,<0.2", ">=1,<0.9", "===some"])
def test_a_specifier_of_too_old_a_time_or_of_nothing(wanted: str) -> None:
    with pytest.raises(UnknownError, match="no covered SGLang release matches"):
        select_releases([wanted], COVERED, "SGLang", 3)


@pytest.mark.parametrize("wanted", ["0.5.14", "0.5", "0.5.12"])
def test_what_lies_between_or_says_too_little_is_not_covered(wanted: str) -> None:
    with pytest.raises(UnknownError, match=f"SGLang {wanted} is not covered"):
        select_releases([wanted], COVERED, "SGLang", 3)


def test_examples_are_the_engines_own() -> None:
    with pytest.raises(UsageError) as caught:
        select_releases(["x"], COVERED, "SGLang", 3)
    assert caught.value.remedy == "write for example 0.5.22, '>=0.5.13,<0.5.24' or all"


def test_a_patch_that_is_not_known_is_told() -> None:
    vllm = ("0.29.0", "0.30.1")
    asked = ("0.29.0", "0.30.0", "0.30.1", "0.30.7", "0.30.7", "0.31.4", "0.30.1.post1")
    said = ["mtpfix knows no vLLM 0.30.7, and judges it as 0.30.1"]
    assert list(unknown_patches(asked, vllm, "vLLM")) == said
    assert list(unknown_patches(("0.5.22", "0.5.99"), COVERED, "SGLang", 3)) == []
    (early,) = unknown_patches(["0.30.1rc1"], vllm, "vLLM")
    assert early == "mtpfix knows no vLLM 0.30.1rc1, and judges it as 0.30.1"


def test_newer_and_later() -> None:
    assert is_newer("0.5.24", COVERED, 3)
    assert not is_newer("0.5.24", COVERED)
    assert not is_newer("0.5.23.post1", COVERED, 3)
    assert later_releases("0.5.13", COVERED, 3) == ("0.5.22", "0.5.23")
    assert later_releases("0.5.13", COVERED) == ()
