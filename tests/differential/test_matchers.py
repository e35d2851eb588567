"""Our matchers answer as the functions of each vLLM release themselves do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtpfix.engines.vllm.methods.compressed_tensors.entries import (
    ShardsDifferError,
    ignored,
    target,
)
from mtpfix.engines.vllm.policy import covered_releases, rules
from mtpfix.model import Entry
from mtpfix.patterns import Entries, PatternError
from tools.differential import (
    CASES,
    GENERATED,
    PACKED,
    PLAIN,
    Case,
    cases,
    read_answers,
    read_cases,
)
from tools.lifting import NO, YES

HERE = Path(__file__).parent
ASKED = read_cases(HERE)
ANSWERS = {path.stem: read_answers(path) for path in HERE.glob("[0-9]*.json")}


def entries(texts: tuple[str, ...], *, eager: bool = False) -> Entries:
    listed = [Entry(text, "config.json", f"/{i}") for i, text in enumerate(texts)]
    return Entries(listed, eager=eager)


def our_ignored(case: Case, release: str) -> str:
    try:
        asked = entries(case.ignore, eager=rules("fused_name_first", release))
        found = ignored(case.name, asked, PACKED[case.packed], release)
    except ShardsDifferError:
        return "ValueError"
    except PatternError:
        return "error"
    return NO if found is None else YES


def our_target(case: Case, release: str) -> str:
    try:
        found = target(case.name, case.cls, entries(case.targets), PACKED[case.packed], release)
    except PatternError:
        return "error"
    if found is not None:
        return str(case.targets.index(found.text))
    return "ValueError" if rules("no_target", release) == "error" else NO


def test_every_covered_release_was_asked() -> None:
    assert set(ANSWERS) == set(covered_releases())


def test_the_recorded_cases_are_those_that_the_generator_makes() -> None:
    assert cases() == ASKED


def test_there_are_cases_of_every_outcome() -> None:
    for answers in ANSWERS.values():
        assert {YES, NO, "ValueError"} <= {answer.ignored for answer in answers[:PLAIN]}
        assert {NO, "ValueError"} & {answer.target for answer in answers}


def test_the_recordings_are_small() -> None:
    kept = [path for path in HERE.glob("*.json") if path.name != GENERATED]
    size = sum(path.stat().st_size for path in kept)
    assert size < 150_000, f"{CASES} and the answers take {size} bytes"


@pytest.mark.parametrize("release", sorted(ANSWERS))
def test_the_ignore_test_agrees(release: str) -> None:
    differ = [
        (index, case, answer.ignored, ours)
        for index, (case, answer) in enumerate(zip(ASKED, ANSWERS[release], strict=True))
        if (ours := our_ignored(case, release)) != answer.ignored
    ]
    assert differ == []


@pytest.mark.parametrize("release", sorted(ANSWERS))
def test_the_target_match_agrees(release: str) -> None:
    differ = [
        (index, case, answer.target, ours)
        for index, (case, answer) in enumerate(zip(ASKED, ANSWERS[release], strict=True))
        if (ours := our_target(case, release)) != answer.target
    ]
    assert differ == []


@pytest.mark.parametrize("release", sorted(ANSWERS))
def test_the_message_about_differing_shards_is_the_engine_s(release: str) -> None:
    said = [
        (case, answer.text)
        for case, answer in zip(ASKED, ANSWERS[release], strict=True)
        if answer.text
    ]
    assert said
    for case, text in said:
        with pytest.raises(ShardsDifferError) as caught:
            ignored(case.name, entries(case.ignore), PACKED[case.packed], release)
        assert str(caught.value) == f"ValueError: {text}"


def test_the_answers_name_their_release_and_the_command() -> None:
    for release in ANSWERS:
        head = json.loads((HERE / f"{release}.json").read_text(encoding="utf-8"))
        assert (head["engine"], head["release"]) == ("vllm", release)
        assert head["command"].startswith("python -m tools.differential ")
