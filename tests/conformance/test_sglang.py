"""What real releases of SGLang decided is foreseen, module by module; recorded, not guessed.

`python -m tools.sglang_record` made the recordings, `python -m tools.sglang_agreement` says where
mtpfix differs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtpfix.engines.sglang import policy
from mtpfix.engines.sglang.case import Case
from mtpfix.errors import MtpfixError
from mtpfix.model import Module, ModuleReport, Precision, QuantView, State
from tools import sglang_agreement, sglang_recording

FILES = sglang_recording.files()


def test_there_are_recordings() -> None:
    assert {path.name for path in FILES} >= {"deepseek_v3.json.xz", "qwen3_5.json.xz"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.partition(".")[0])
def test_every_recorded_decision_is_foreseen(path: Path) -> None:
    asked = 0
    for recorded in sglang_recording.read(path):
        asked += len(recorded.outcomes)
        found = list(sglang_agreement.differences(recorded))
        assert found == [], recorded.id
    assert asked


@pytest.mark.parametrize("family", ["deepseek_v4", "deepseek_v4_dspark"])
def test_what_a_class_fails_on_is_foreseen(family: str) -> None:
    """Where a part cannot be constructed, some module of it is said to fail, and else none is."""
    asked = 0
    for recorded in sglang_recording.read(sglang_recording.FOLDER / f"{family}.json.xz"):
        with contextlib.suppress(MtpfixError):
            view = sglang_agreement.view_of(recorded)
            case = sglang_agreement.case_of(recorded, view)
            assert case is not None
            for part, phase in (("trunk", "target"), ("draft", "draft")):
                failed = [each for each in recorded.failures if each["phase"] == phase]
                errors = [o for o in recorded.outcomes if o.error and o.module.part == part]
                said = list(_failing(case, view, getattr(case, part)))
                assert bool(said) == bool(failed or errors), (recorded.id, part, said, failed)
                asked += 1
    assert asked


def _failing(case: Case, view: QuantView, modules: tuple[Module, ...]) -> Iterator[str | None]:
    """Yield what is said of modules that fail while they are constructed, however stored."""
    for decision in case.decide(view, modules):
        if decision.built == "error":
            yield decision.error
        quantized = decision.built == "quantized"
        stored = Precision(State.QUANTIZED if quantized else State.UNQUANTIZED)
        report = case.broken(view, ModuleReport(decision, stored, (), agrees=True))
        if report.limit is not None:
            yield report.detail


def test_evidence_names_what_is_recorded() -> None:
    known = policy.evidence()
    made = sglang_agreement.evidence()
    assert known.decisions == made["decisions"]
    assert {m: {f: [*r] for f, r in by.items()} for m, by in known.recorded.items()} == made[
        "recorded"
    ]
