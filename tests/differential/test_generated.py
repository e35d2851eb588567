"""Our matchers answer thousands of generated questions as each vLLM release itself does."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from mtpfix.engines.vllm.policy import covered_releases
from tools import grammar
from tools.answers import differences
from tools.differential import GENERATED, LETTERS, read_generated

HERE = Path(__file__).parent
ANSWERS = read_generated(HERE)


def test_every_covered_release_was_asked_these_questions() -> None:
    assert set(ANSWERS) == set(covered_releases())
    recorded = json.loads((HERE / GENERATED).read_text(encoding="utf-8"))
    assert recorded["questions"] == grammar.digest()


def test_the_questions_have_answers_of_every_sort() -> None:
    for answers in ANSWERS.values():
        assert set(answers.ignored) == set(LETTERS.values())
        assert "?" not in answers.target
        assert {"0", "1", "2"} <= set(answers.target)
        assert min(map(answers.ignored.count, LETTERS.values())) > 50


def test_the_recording_is_small() -> None:
    assert (HERE / GENERATED).stat().st_size < 100_000


@pytest.mark.parametrize("release", sorted(ANSWERS))
def test_every_answer_is_the_release_s_own(release: str) -> None:
    assert list(itertools.islice(differences(ANSWERS[release], release), 5)) == []
