"""What engines say: every kind is recorded, and what is recorded is known."""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mtpfix.engines.sglang import load_outcome
from mtpfix.findings import kinds
from mtpfix.symptoms import LONGEST, recognise, symptoms

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
