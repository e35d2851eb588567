"""What real releases of SGLang decided is foreseen, module by module; recorded, not guessed.

`python -m tools.sglang_record` made the recordings, `python -m tools.sglang_agreement` says where
mtpfix differs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from mtpfix.engines.sglang import policy
from mtpfix.engines.sglang.case import Case
from mtpfix.errors import MtpfixError
from mtpfix.model import Module, ModuleReport, Precision, QuantView, State
from tools import sglang_agreement, sglang_recording
from tools.sglang_recording import Case as Recorded

FILES = sglang_recording.files()
ARTEFACTS: Mapping[str, str] = {
    "requires effective attention TP size 2": "a recording is made on one rank",
    "The output size is not aligned with": "the tiny GLM-5 Next has a layer of four rows",
}
"""Parts of messages that say nothing of a checkpoint, and why."""


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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.partition(".")[0])
def test_what_a_class_fails_on_is_foreseen(path: Path) -> None:
    """Where a part cannot be constructed, mtpfix says so with the exception; else it does not."""
    asked = 0
    for recorded in sglang_recording.read(path):
        try:
            view = sglang_agreement.view_of(recorded)
            case = sglang_agreement.case_of(recorded, view)
        except MtpfixError:  # nothing is foreseen of it
            continue
        if case is None:  # no such draft in this release
            continue
        for part, phase in (("trunk", "target"), ("draft", "draft")):
            real = list(_failures(recorded, part, phase))
            said = [_stable(each) for each in _failing(case, view, getattr(case, part))]
            assert said[:1] == real[:1], (recorded.id, part, said, real)
            asked += 1
    assert asked


def _failures(recorded: Recorded, part: str, phase: str) -> Iterator[str]:
    """Yield the exceptions that a part was ended by: of its metadata, of modules, of its class.

    The recorder went on past those of modules; that of a class comes after them.
    """
    yield from _raised(recorded, "config")
    for outcome in recorded.outcomes:
        if outcome.error and outcome.module.part == part:
            yield _stable(outcome.error)
    yield from _raised(recorded, phase)


def _raised(recorded: Recorded, phase: str) -> Iterator[str]:
    for failure in recorded.failures:
        artefact = any(each in failure["message"] for each in ARTEFACTS)
        if failure["phase"] == phase and not artefact:
            yield _stable(f"{failure['type']}: {failure['message']}")


def _stable(error: str | None) -> str:
    """Return the first line of an exception, without what is in no order, or lists what a release
    supports."""
    said = (error or "").partition("\n")[0].partition("Must be one of")[0].strip()
    return re.sub(r"\{(.*?)\}", lambda found: str(sorted(found[1].split(", "))), said)


def _failing(case: Case, view: QuantView, modules: tuple[Module, ...]) -> Iterator[str | None]:
    """Yield what is said of modules that fail before anything is loaded, however stored."""
    for decision in case.decide(view, modules):
        if decision.built == "error":
            yield decision.error
        quantized = decision.built == "quantized"
        stored = Precision(State.QUANTIZED if quantized else State.UNQUANTIZED)
        report = case.faulted(view, ModuleReport(decision, stored, (), agrees=True))
        if report.limit is not None and report.limit.phase in ("config", "build"):
            yield report.detail


def test_evidence_names_what_is_recorded() -> None:
    known = policy.evidence()
    made = sglang_agreement.evidence()
    assert known.decisions == made["decisions"]
    for name, rows in (("recorded", known.recorded), ("proved", known.proved)):
        assert {m: {f: [*r] for f, r in by.items()} for m, by in rows.items()} == made[name]
