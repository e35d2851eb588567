"""Cases that are judged alike are judged once, and no case is judged by another's facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mtpfix.checkpoint.source import LocalSource
from mtpfix.engines import registry
from mtpfix.engines.alike import once
from mtpfix.engines.base import EngineCase
from mtpfix.engines.opening import Analyzable
from mtpfix.engines.policies.condition import Condition, Releases
from mtpfix.engines.policies.context import (
    Context,
    Questions,
    Release,
    fits,
    in_releases,
    on_platform,
)
from mtpfix.engines.policies.expression import ExprError, Expression
from mtpfix.model import Platform
from mtpfix.quant import Change, changed
from mtpfix.repair.verdicts import for_each
from mtpfix.subject import open_subject

SAMPLE = Path(__file__).parents[3] / "examples" / "deepseek-v4-like"
ADDED = Change(add=(r"re:^model\.layers\.43\..*",))


def test_a_value_is_found_once_for_all_that_are_alike() -> None:
    found: list[int] = []

    def of(item: int) -> str:
        found.append(item)
        return f"of {item}"

    assert list(once([1, 3, 2, 4, 5], lambda item: item % 2, of)) == [
        "of 1",
        "of 1",
        "of 2",
        "of 2",
        "of 1",
    ]
    assert found == [1, 2]


def test_what_finding_a_value_asks_tells_apart_what_was_alike() -> None:
    asked: list[int] = []  # divisors: items are alike that leave the same rests

    def of(item: int) -> int:
        asked.append(3)
        return item % 3

    values = once(range(6), lambda item: tuple(item % divisor for divisor in asked), of)
    assert list(values) == [0, 1, 2, 0, 1, 2]
    assert len(asked) == 3


def test_values_are_found_when_they_are_wanted() -> None:
    values = once([1, 0], lambda item: item, lambda item: 1 // item)
    assert next(values) == 1
    with pytest.raises(ZeroDivisionError):
        next(values)


# --- what releases are asked ----------------------------------------------------------


def context(questions: Questions, **fields: object) -> Context:
    return Context(Release("0.30.0", questions), "cuda", fields)


def test_a_release_notes_which_rows_it_is_asked_about() -> None:
    questions = Questions()
    assert in_releases(">=0.30", context(questions).release)
    assert not on_platform(context(questions), "rocm")
    row = Condition(releases=Releases("<0.30"), platforms=("cuda",))
    assert not fits(row, context(questions))
    assert [(asked.releases, asked.platforms) for asked in questions.asked] == [
        (">=0.30", None),
        (">=0", ("rocm",)),
        ("<0.30", ("cuda",)),
    ]


def test_a_row_that_cannot_hold_is_no_question() -> None:
    questions = Questions()
    here = context(questions, layers=3)
    for row in (
        Condition(releases=Releases(">=0.30"), methods=("awq",)),
        Condition(releases=Releases(">=0.30"), except_=("compressed-tensors",)),
        Condition(releases=Releases(">=0.30"), when=Expression("layers == 4")),
        Condition(methods=("awq",)),
    ):
        assert not fits(row, here)
    assert fits(Condition(when=Expression("layers == 3")), here)
    assert not questions.asked


def test_a_condition_that_does_not_fit_is_an_error_of_its_own_releases_alone() -> None:
    wrong = Expression("layers + 1")
    here = context(Questions(), layers="many")
    assert not fits(Condition(releases=Releases("<0.30"), when=wrong), here)
    with pytest.raises(ExprError):
        fits(Condition(releases=Releases(">=0.30"), when=wrong), here)
    with pytest.raises(ExprError):
        fits(Condition(when=wrong), here)


# --- cases ------------------------------------------------------------------------------


def opened(name: str) -> Analyzable:
    engine = registry.engine(name)
    opening = open_subject(LocalSource(SAMPLE), (engine,)).openings[engine]
    assert isinstance(opening, Analyzable)
    return opening


def every_case(subject: Analyzable) -> tuple[EngineCase, ...]:
    return subject.cases(subject.engine.releases, platforms(subject))


def platforms(subject: Analyzable) -> tuple[Platform, ...]:
    vllm = subject.engine.name == "vllm"
    return ("cuda", "rocm", "xpu") if vllm else ("cuda", "cuda:10.0")


def alone(subject: Analyzable) -> Iterator[EngineCase]:
    """Each case by itself: it shares nothing with any other."""
    for case in every_case(subject):
        (own,) = subject.cases((case.release,), (case.platform,))
        yield own


@pytest.mark.parametrize("change", [Change(), ADDED], ids=["as it is", "with an entry"])
@pytest.mark.parametrize("name", ["vllm", "sglang"])
def test_a_case_is_judged_as_if_it_were_alone(name: str, change: Change) -> None:
    subject = opened(name)
    view = changed(subject.view, change)
    cases, judged = every_case(subject), []

    def report(case: EngineCase, _: object) -> object:
        judged.append(case)
        return case.report(view)

    found = for_each(cases, {subject.engine: view}, report)
    assert len(judged) < len(cases) * 3 / 4
    for case, shared, own in zip(cases, found, alone(subject), strict=True):
        expected = own.report(view)
        assert replace(shared, version=case.release, platform=case.platform) == expected
