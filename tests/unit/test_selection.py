"""Engines, releases and platforms: what a user may write, and what it selects."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from mtpfix.engines.registry import engine
from mtpfix.errors import UnknownError, UsageError
from mtpfix.model import PLATFORMS
from mtpfix.selection import GATED, Scope, Selection, select

VLLM = engine("vllm")
ALL = VLLM.releases


def releases(selection: Selection) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those that are planned for, and those that decide."""
    return selection.planned.releases_of(VLLM), selection.decisive.releases_of(VLLM)


@pytest.mark.parametrize("engines", [None, ["vllm"], "vllm", ["vllm", "vllm"]])
def test_an_engine_alone_leaves_its_releases_open(engines: list[str] | None) -> None:
    selection = select(engines=engines)
    assert releases(selection) == (ALL, ALL[-1:])
    assert not selection.explicit
    assert (selection.planned.platforms, selection.decisive.platforms) == (PLATFORMS, GATED)


@pytest.mark.parametrize(
    ("requirement", "chosen"),
    [
        ("vllm>=0.30,<0.32", ("0.30.0", "0.31.0")),
        ("vllm >= 0.30, < 0.32", ("0.30.0", "0.31.0")),
        ("vllm==0.32.0", ("0.32.0",)),
        ("vllm==0.32", ("0.32.0",)),
        ("vllm==0.32.*", ("0.32.0",)),
        ("vllm==0.32.1", ("0.32.1",)),
        ("vllm~=0.32.0", ("0.32.0",)),
        ("vllm===0.32.0", ("0.32.0",)),
        ("vllm>=0", ALL),
    ],
)
def test_a_requirement_decides_in_full(requirement: str, chosen: tuple[str, ...]) -> None:
    selection = select(engines=[requirement])
    assert releases(selection) == (chosen, chosen)
    assert selection.explicit


def test_what_is_given_twice_is_put_together() -> None:
    selection = select(vllm=["0.28"], engines=["vllm==0.32.0", "vllm"])
    assert releases(selection) == (("0.28.0", "0.32.0"), ("0.28.0", "0.32.0"))


@pytest.mark.parametrize(
    "requirement",
    ["", "vllm[cpu]", "vllm @ https://x/y", "vllm; python_version > '3'", "0.32", "x"],
)
def test_what_is_no_engine_is_refused(requirement: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(engines=[requirement])
    assert caught.value.remedy


def test_a_release_that_is_not_covered_is_kept_for_the_report() -> None:
    selection = select(engines=["vllm<0.10"])
    for scope in (selection.planned, selection.decisive):
        with pytest.raises(UnknownError) as caught:
            scope.releases_of(VLLM)
        assert caught.value.code == "MTP903"


def test_of_each_engine_something_decides() -> None:
    other = Mock(releases=("1.0.0", "1.1.0"))
    case = partial(SimpleNamespace, platform="cuda")
    old = [case(engine=VLLM, release=release) for release in ALL[:2]]
    new = [case(engine=other, release=release) for release in other.releases]
    both = ((VLLM, ALL), (other, other.releases))
    newest = ((VLLM, ALL[-1:]), (other, other.releases[-1:]))
    selection = Selection(Scope(both, PLATFORMS), Scope(newest, GATED), explicit=False)
    assert selection.deciding([*old, *new]) == (old[-1], new[-1])  # type: ignore[list-item]


def test_nothing_is_no_selection() -> None:
    with pytest.raises(UsageError, match="no release, no engine or no platform is given"):
        select(engines=[])
