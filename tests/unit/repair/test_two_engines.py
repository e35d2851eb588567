"""Plans for two engines whose names and spellings differ: what each release makes of one list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mtpfix
from mtpfix.engines import registry
from mtpfix.model import EngineReport
from mtpfix.repair.plan import Options
from mtpfix.repair.planner import plan
from mtpfix.repair.verdicts import sharing, views_of
from mtpfix.selection import select
from mtpfix.subject import open_subject
from mtpfix.targets import source
from tests.unit.cli import fake_sglang
from tests.unit.cli.conftest import Folder, header

FOR_VLLM = r"re:^model\.layers\.2\..*"


@pytest.fixture(autouse=True)
def sglang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENGINES, "sglang", "tests.unit.cli.fake_sglang")
    monkeypatch.setattr(registry, "BESIDE", ("sglang",))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "model")


def _quantize(folder: Folder, *modules: str) -> None:
    """Store some modules of the block as FP8."""
    tensors = header()
    for name in modules:
        tensors[f"model.mtp_layers.0.{name}.weight"] = ("F8_E4M3", (4, 4))
        tensors[f"model.mtp_layers.0.{name}.weight_scale"] = ("BF16", (4, 1))
    folder.tensors(tensors)


def _outcomes(engines: tuple[EngineReport, ...]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for engine in engines:
        found.setdefault(engine.engine, set()).add(engine.outcome)
    return found


def test_every_candidate_is_judged_by_both_and_right_for_both(folder: Folder) -> None:
    made = mtpfix.plan(str(folder))
    assert _outcomes(made.before.engines) == {
        "vllm": {"silent_garbage"},
        "sglang": {"load_error"},
    }
    assert _outcomes(made.after.engines) == {"vllm": {"clean"}, "sglang": {"clean"}}


def test_a_mixed_block_gets_single_entries_of_both(folder: Folder) -> None:
    _quantize(folder, "mlp.down_proj")
    made = mtpfix.plan(str(folder))
    assert _outcomes(made.after.engines) == {"vllm": {"clean"}, "sglang": {"clean"}}
    needed = {who for engines in made.plan.needed_by.values() for who in engines}
    assert needed == {"vLLM", "SGLang"}
    assert not any(r".layers\.2\..*" in text for text in made.plan.added)
    for text in made.plan.added:
        assert "down_proj" not in text


@pytest.mark.parametrize("prefix", ["model.layers.0.", "model.layers.1."])
def test_an_entry_that_hits_a_target_model_is_never_written(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    monkeypatch.setattr(fake_sglang.Case, "prefix", prefix)
    monkeypatch.setattr(fake_sglang.Case, "draft_roots", (prefix,))
    made = mtpfix.plan(str(folder))
    assert not any(text.startswith(f"re:^{prefix.removesuffix('.')}") for text in made.plan.added)
    assert FOR_VLLM in made.plan.added
    assert made.exit_code == 0
    assert {stays.engine for stays in made.plan.unresolved} == {"sglang"}


def test_a_prefix_that_the_engine_does_not_give_is_not_taken(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many models call a part of theirs `model.decoder`: only the engine knows better."""
    monkeypatch.setattr(fake_sglang.Case, "draft_roots", ())
    made = mtpfix.plan(str(folder))
    assert not any("decoder" in text and text.endswith(".*") for text in made.plan.added)


def test_where_both_are_asked_neither_leads(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_sglang.Case, "prefix", "model.layers.0.")
    monkeypatch.setattr(fake_sglang.Case, "draft_roots", ())
    made = mtpfix.plan(str(folder), vllm=["all"], sglang=["all"])
    assert made.exit_code == 1
    assert FOR_VLLM in made.plan.added
    reasons = {stays.reason for stays in made.plan.unresolved}
    assert not any("same list" in reason for reason in reasons)
    assert any("as vLLM builds it" in reason for reason in reasons)


def test_the_plan_has_the_metadata_as_each_engine_reads_them(folder: Folder) -> None:
    selection = select()
    subject = open_subject(source(str(folder), None, None), selection.engines)
    cases = [
        case
        for engine, releases in selection.decisive.engines + selection.beside.engines
        for case in subject.openings[engine].require().cases(releases, ("cuda",))
    ]
    assert sharing(cases) == tuple(cases)
    views = views_of(cases, cases[0].view)
    assert {engine.name for engine in views} == {"vllm", "sglang"}
    made = plan(cases, cases[0].view, Options(), subject.files.listing.configs, cases[:1])
    assert {engine.name for engine in made.views} == {"vllm", "sglang"}
    for case in cases:
        texts = [entry.text for entry in made.views[case.engine].ignore]
        assert texts == ["lm_head", *made.added]
        reports = case.judged(made.views[case.engine], case.draft)
        assert all(report.agrees is not False for report in reports)


def test_what_a_second_run_finds_is_nothing(folder: Folder) -> None:
    mtpfix.rewrite(str(folder), write=True)
    written = json.loads((folder.path / "config.json").read_text(encoding="utf-8"))
    again = mtpfix.plan(str(folder))
    assert not again.changes
    assert len(set(written["quantization_config"]["ignore"])) == 4
