"""Our matchers answer thousands of generated questions as each vLLM release itself does."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtpfix.engines.vllm.mapper import mapped
from mtpfix.engines.vllm.match import Entries, PatternError, ShardsDifferError, ignored, target
from mtpfix.engines.vllm.policy import Context, Policy, covered_releases, rules
from mtpfix.model import Entry, QuantView
from tools import grammar
from tools.differential import GENERATED, LETTERS, checksum, letter, read_generated
from tools.lifting import NO, YES

HERE = Path(__file__).parent
ANSWERS = read_generated(HERE)
MATCHES = tuple(grammar.matches())
MAPS = tuple(grammar.maps())


def entries(texts: tuple[str, ...], *, eager: bool = False) -> Entries:
    listed = [Entry(text, "config.json", f"/{i}") for i, text in enumerate(texts)]
    return Entries(listed, eager=eager)


def refused(error: PatternError) -> str:
    """An invalid pattern is the release's error too; one that takes too long is ours alone."""
    return "takes too long" if error.hangs else "error"


def our_ignored(asked: grammar.Match, release: str) -> str:
    try:
        listed = entries(asked.ignore, eager=rules("fused_name_first", release))
        found = ignored(asked.name, listed, asked.packed, release)
    except ShardsDifferError:
        return "ValueError"
    except PatternError as error:
        return refused(error)
    return NO if found is None else YES


def our_target(asked: grammar.Match, release: str) -> str:
    try:
        found = target(asked.name, asked.cls, entries(asked.targets), asked.packed, release)
    except PatternError as error:
        return refused(error)
    if found is not None:
        return str(asked.targets.index(found.text))
    return "ValueError" if rules("no_target", release) == "error" else NO


def our_mapped(asked: grammar.Map, release: str) -> list[str]:
    listed = tuple(Entry(text, "config.json", f"/{i}") for i, text in enumerate(asked.entries))
    known = Policy("none", "None", (), (), "", {"mappers": [asked.tables]})
    bare = QuantView("compressed-tensors", "config.json", "", listed, "", (), None)
    view = mapped(bare, known, Context(release, "cuda", {}))
    return [entry.text for entry in view.ignore]


def differences(release: str) -> Iterator[tuple[str, object, str, str]]:
    """Each question that we answer otherwise: what, the question, the answer, and ours."""
    theirs = ANSWERS[release]
    for asked, answer in zip(MATCHES, theirs.ignored, strict=True):
        if (ours := letter(our_ignored(asked, release))) != answer:
            yield "ignored", asked, answer, ours
    for asked, answer in zip(MATCHES, theirs.target, strict=True):
        if (ours := letter(our_target(asked, release))) != answer:
            yield "target", asked, answer, ours
    for which, answer in zip(MAPS, theirs.mapped, strict=True):
        if checksum(ours_mapped := our_mapped(which, release)) != answer:
            yield "mapped", which, answer, str(ours_mapped)


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
    assert list(itertools.islice(differences(release), 5)) == []
