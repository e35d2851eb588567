"""What several engines say of one target, as one report."""

from __future__ import annotations

import pytest

from mtpfix.engines import registry
from mtpfix.merging import merge, tell_beside
from mtpfix.model import EngineReport, Finding, ModelInfo, Outcome, Report, Target
from mtpfix.selection import select
from tests.unit.cli.fake_sglang import ENGINE as SGLANG

VLLM = registry.engine("vllm")


@pytest.fixture(autouse=True)
def sglang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENGINES, "sglang", "tests.unit.cli.fake_sglang")
    monkeypatch.setattr(registry, "BESIDE", ("sglang",))


def report(
    engine: str,
    version: str,
    *findings: Finding,
    outcome: Outcome = "clean",
    family: str | None = "mimo",
    notes: tuple[str, ...] = (),
) -> Report:
    judged = () if not version else (EngineReport(engine, version, "cuda", outcome, ()),)
    info = ModelInfo(family, None, ())
    return Report(Target("local", "x"), info, None, (), judged, findings, 0, notes=notes)


def said(message: str, *releases: str, code: str = "MTP402") -> Finding:
    return Finding(code, "error", "run", message, releases=releases)


def test_what_all_say_is_said_once_with_all_engines() -> None:
    parts = {
        VLLM: report("vllm", "0.33.0", said("vLLM reads x twice", "0.33.0")),
        SGLANG: report("sglang", "0.5.23", said("SGLang reads x twice", "0.5.23")),
    }
    (finding,) = merge(parts, select()).findings
    assert finding.message == "the engine reads x twice"
    assert finding.releases == ("vLLM 0.33.0", "SGLang 0.5.23")
    assert finding.decides


def test_what_one_says_keeps_its_words_and_decides_for_it_alone() -> None:
    parts = {
        VLLM: report("vllm", "0.33.0", said("vLLM raises", "0.33.0")),
        SGLANG: report("sglang", "0.5.23", said("SGLang hangs", "0.5.23"), outcome="load_error"),
    }
    found = merge(parts, select())
    assert [(f.message, f.decides) for f in found.findings] == [
        ("vLLM raises", True),
        ("SGLang hangs", False),
    ]
    assert found.exit_code == 1
    only = merge({VLLM: report("vllm", "0.33.0"), SGLANG: parts[SGLANG]}, select())
    assert only.exit_code == 0
    both = select(vllm=["0.33.0"], sglang=["0.5.23"])
    assert merge({VLLM: report("vllm", "0.33.0"), SGLANG: parts[SGLANG]}, both).exit_code == 1


def test_one_that_knows_nothing_is_silent_or_a_note() -> None:
    unknown = said("could not judge: what", code="MTP901")
    vllm = report("vllm", "0.33.0", said("vLLM raises", "0.33.0"))
    stranger = report("sglang", "", unknown, family=None)
    assert merge({VLLM: vllm, SGLANG: stranger}, select()) == vllm
    known = report("sglang", "", unknown)
    found = merge({VLLM: vllm, SGLANG: known}, select())
    assert found.findings == vllm.findings
    assert found.notes == ("SGLang is not judged: could not judge: what",)
    asked = merge(
        {VLLM: report("vllm", "0.33.0"), SGLANG: known}, select(vllm=["newest"], sglang="all")
    )
    assert [f.message for f in asked.findings] == ["SGLang: could not judge: what"]
    assert asked.exit_code == 3


def test_what_vllm_does_not_know_is_no_pass() -> None:
    parts = {
        VLLM: report("vllm", "", said("could not judge: what", code="MTP902"), family=None),
        SGLANG: report("sglang", "0.5.23"),
    }
    found = merge(parts, select())
    assert found.exit_code == 3
    assert [engine.engine for engine in found.engines] == ["sglang"]


def test_notes_that_differ_in_the_engine_alone_are_one() -> None:
    parts = {
        VLLM: report("vllm", "0.33.0", notes=("vLLM builds it", "a")),
        SGLANG: report("sglang", "0.5.23", notes=("SGLang builds it", "b")),
    }
    assert merge(parts, select()).notes == ("the engine builds it", "a", "b")


@pytest.mark.parametrize(
    ("outcome", "note"),
    [
        ("clean", "SGLang 0.5.23 (cuda) does not count here: the draft is clean"),
        (
            "silent_garbage",
            "SGLang 0.5.23 (cuda) does not count here: the draft loads as silent garbage; "
            "`mtpfix check --sglang 0.5.23` says why",
        ),
    ],
)
def test_what_does_not_count_is_one_note(outcome: Outcome, note: str) -> None:
    others = report("sglang", "0.5.23", outcome=outcome).engines
    assert tell_beside(report("vllm", "0.33.0"), others).notes == (note,)
    assert tell_beside(report("vllm", "0.33.0"), report("sglang", "1", outcome="no_mtp").engines)
