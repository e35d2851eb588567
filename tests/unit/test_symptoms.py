"""What engines say: every kind is recorded, and what is recorded is known."""

from __future__ import annotations

import json
import lzma
import random
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import mtpfix
from mtpfix.engines.sglang import load_outcome
from mtpfix.errors import MtpfixError
from mtpfix.findings import kinds
from mtpfix.symptoms import LONGEST, recognise, symptoms
from tools.prove_random import VllmJudge
from tools.random_draws import draw, make
from tools.sglang_random import SglangJudge

ROOT = Path(__file__).parents[2]
RECORDED = (
    "tests/conformance/0.3*/*.json",
    "tests/conformance/sglang/*.json.xz",
    "tests/cases/*/expected.json",
    "mtpfix/engines/*/methods/*/*.json",
    "mtpfix/engines/*/families/*/policy.json",
)
SAID = re.compile(r"(?:[A-Z]\w*(?:Error|Exception)): \S.*")
"""An exception with its words; of many, recordings keep the type alone."""


@cache
def recorded() -> frozenset[str]:
    """First lines of all messages in recordings and policies."""
    paths = (path for pattern in RECORDED for path in ROOT.glob(pattern))
    said = {message for path in paths for message in _said(_load(path))}
    return frozenset(said.union(_said(list(vars(load_outcome).values()))))


def _load(path: Path) -> Any:
    data = path.read_bytes()
    return json.loads(lzma.decompress(data) if path.suffix == ".xz" else data)


def _said(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        kind, message = value.get("type"), value.get("message")
        if isinstance(kind, str) and isinstance(message, str) and message:
            yield f"{kind}: {message.splitlines()[0]}"
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _said(each)
    elif isinstance(value, str) and SAID.match(value):
        yield value.splitlines()[0]


@pytest.mark.parametrize("one", symptoms(), ids=lambda one: one.name)
def test_every_symptom_is_whole_and_shows_itself(one: Any) -> None:
    assert recognise(one.shown) == (one,)
    assert one.meaning.endswith(".")
    assert one.remedy.endswith(".")
    assert set(one.findings) <= set(kinds())
    assert set(one.engines) <= {"vllm", "sglang"}


@pytest.mark.parametrize(
    "one", [o for o in symptoms() if o.evidence == "run"], ids=lambda o: o.name
)
def test_every_symptom_that_was_run_is_recorded(one: Any) -> None:
    assert any(one in recognise(message) for message in recorded())


def test_what_engines_say_in_words_is_known() -> None:
    unknown = [message for message in recorded() if not recognise(message)]
    assert len(recorded()) > 350
    assert len(unknown) < 0.05 * len(recorded())


@pytest.mark.parametrize(
    "line",
    [
        "SpecDecoding metrics: Mean acceptance length: 1.00, Accepted throughput: 0.00 tokens/s",
        "Avg Draft acceptance rate: 0.0%",
        "Decode batch. #running-req: 1, accept len: 1.00, accept rate: 0.00, cuda graph: True",
    ],
)
def test_nothing_accepted(line: str) -> None:
    assert [one.name for one in recognise(line)] == ["nothing-accepted"]


@pytest.mark.parametrize(
    "line",
    [
        "SpecDecoding metrics: Mean acceptance length: 2.10, Avg Draft acceptance rate: 55.0%",
        "Avg Draft acceptance rate: 0.6%",
        "Decode batch. accept len: 1.90, accept rate: 0.63",
        "Decode batch. accept len: 11.0, accept rate: 0.9",
        "INFO: application startup complete",
        "",
    ],
)
def test_what_is_no_symptom(line: str) -> None:
    assert recognise(line) == ()


def test_a_log_tells_each_symptom_once_in_order() -> None:
    first, second = symptoms()[4], symptoms()[7]
    log = "\n".join(["INFO x", second.shown, first.shown, second.shown])
    assert recognise(log) == (second, first)


def test_a_line_without_an_end_is_looked_at_in_part() -> None:
    assert recognise("x" * 10_000_000) == ()
    assert recognise("x" * LONGEST + symptoms()[0].shown) == ()


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_a_symptom_names_the_findings_that_quote_it(engine: str, tmp_path: Path) -> None:
    """Of checkpoints drawn at random, those that end in an exception while layers are built."""
    judge = _JUDGES[engine]
    seen: set[str] = set()
    for number in range(30):
        chance = random.Random(f"symptoms/{number}")  # noqa: S311 - to repeat a checkpoint
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            make(draw(chance, judge), folder, judge, chance)
            report = mtpfix.inspect(folder, engines=[engine], trunk=True)
        except (RuntimeError, IndexError, MtpfixError):  # too small for the recipe, or unknown
            continue
        for finding in report.findings:
            if finding.severity == "error":
                for one in recognise(finding.message):
                    assert finding.code in one.findings, (one.name, finding.message)
                    seen.add(one.name)
    assert seen


_JUDGES = {
    "vllm": VllmJudge(None, "0.32.0"),  # type: ignore[arg-type] - no engine is asked
    "sglang": SglangJudge(None, "0.5.23"),  # type: ignore[arg-type] - the same
}
