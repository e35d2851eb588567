"""vLLM, and beside it an engine with names, fused modules, releases and a spelling of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace

import pytest

import mtpfix
from mtpfix.cli.options import RepairFormat, ReportFormat
from mtpfix.engines import registry
from mtpfix.engines.vllm.engine import ENGINE as VLLM
from mtpfix.model import JsonFile, QuantView
from mtpfix.selection import select
from tests.unit.report.schemas import validator

from . import fake_sglang
from .conftest import Folder, Run
from .fake_sglang import entries

FOR_VLLM = r"re:^model\.layers\.2\..*"
FOR_SGLANG = r"re:^model.decoder\..*"
ON_DISK = r"re:^model\.mtp_layers\.0\..*"
"""For other readers of the file."""
NEWEST = VLLM.releases[-1]


@pytest.fixture(autouse=True)
def sglang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENGINES, "sglang", "tests.unit.cli.fake_sglang")
    monkeypatch.setattr(registry, "BESIDE", ("sglang",))


@pytest.fixture
def clash(monkeypatch: pytest.MonkeyPatch) -> None:
    """SGLang asks about the draft by the names of the target model's first layer."""
    monkeypatch.setattr(fake_sglang.Case, "prefix", "model.layers.0.")
    monkeypatch.setattr(fake_sglang.Case, "draft_roots", ())


@pytest.fixture
def strange(folder: Folder) -> Folder:
    """A model of a family that the other engine does not know."""
    folder.save(model_type="mimo_v2", architectures=["NoSuchModel"])
    return folder


# --- selection ---------------------------------------------------------------


def judged(report: mtpfix.Report) -> list[tuple[str, str]]:
    return [(engine.engine, engine.version) for engine in report.engines]


def test_inspect_shows_the_newest_release_of_every_engine(folder: Folder) -> None:
    assert judged(mtpfix.inspect(str(folder))) == [("vllm", NEWEST), ("sglang", "0.5.23")]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--sglang", "0.5.22"], [("sglang", "0.5.22")]),
        (["--sglang", "0.5.22.post1"], [("sglang", "0.5.22.post1")]),
        (["--sglang", ">=0.5.22"], [("sglang", "0.5.22"), ("sglang", "0.5.23")]),
        (["--engine", "sglang"], [("sglang", "0.5.23")]),
        (["--engine", "sglang<0.5.22"], [("sglang", "0.5.21")]),
        (["--vllm", "0.32"], [("vllm", "0.32.0")]),
        (
            ["--sglang", "newest", "--sglang", "0.5.21", "--vllm", "0.32"],
            [("vllm", "0.32.0"), ("sglang", "0.5.21"), ("sglang", "0.5.23")],
        ),
    ],
)
def test_what_is_selected_is_judged_and_nothing_else(
    run: Run, folder: Folder, words: list[str], expected: list[tuple[str, str]]
) -> None:
    found = run("check", folder, *words, "--format", "json").json
    assert [(each["engine"], each["version"]) for each in found["engines"]] == expected
    assert found["exit_code"] == 1
    assert found["notes"] == []


@pytest.mark.parametrize("release", ["0.5.20", "0.5", "x"])
def test_a_release_that_is_none_is_refused_by_its_engine(
    run: Run, folder: Folder, release: str
) -> None:
    ran = run("check", folder, "--sglang", release)
    assert ran.code in (2, 3)
    assert "0.5.2" in ran.out + ran.err


def test_check_asks_vllm_alone_and_tells_the_other_in_one_line(run: Run, folder: Folder) -> None:
    folder.ignore("lm_head", FOR_VLLM)
    ran = run("check", folder)
    assert ran.code == 0
    (note,) = [line for line in ran.out.splitlines() if "SGLang" in line]
    assert note.strip() == (
        "note  SGLang 0.5.23 (cuda) does not count here: the draft fails to load; "
        "`mtpfix check --sglang 0.5.23` says why"
    )
    assert run("check", folder, "--sglang", "0.5.23").code == 1
    shown = run("inspect", folder, "--format", "json").json
    assert shown["exit_code"] == 0
    assert [each["outcome"] for each in shown["engines"]] == ["clean", "load_error"]


def test_check_of_several_targets_tells_the_other_too(run: Run, folder: Folder) -> None:
    folder.ignore("lm_head", FOR_VLLM)
    found = run("check", folder, folder.path.parent / "model", "--format", "json").json
    assert found["exit_code"] == 0
    assert "SGLang 0.5.23" in json.dumps(found)


def test_an_engine_that_does_not_know_the_family_is_silent(run: Run, strange: Folder) -> None:
    alone = run("check", strange, "--vllm", "newest")
    ran = run("check", strange)
    assert (ran.code, ran.out) == (alone.code, alone.out)
    assert run("inspect", strange).out == run("inspect", strange, "--vllm", "newest").out
    named = run("check", strange, "--sglang", "0.5.23")
    assert named.code == 3
    assert "SGLang knows no such family" in named.out


def test_a_user_of_vllm_alone_imports_no_other_engine(folder: Folder) -> None:
    code = (
        "import sys\n"
        "from mtpfix.engines import registry\n"
        "registry.ENGINES['sglang'] = 'tests.unit.cli.fake_sglang'\n"
        "registry.BESIDE = ('sglang',)\n"
        "from mtpfix.cli import main\n"
        f"codes = [main([c, {str(folder)!r}, '--vllm', '0.32.0']) for c in ('check', 'inspect')]\n"
        "assert codes == [1, 0], codes\n"
        "assert not [name for name in sys.modules if 'sglang' in name]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]


def test_without_a_selection_all_is_planned_for_and_vllm_decides() -> None:
    selection = select()
    planned = {engine.name: releases for engine, releases in selection.planned.engines}
    assert planned == {"vllm": VLLM.releases, "sglang": fake_sglang.ENGINE.releases}
    assert [engine.name for engine, _ in selection.decisive.engines] == ["vllm"]
    assert not selection.explicit
    chosen = select(sglang=["0.5.23"])
    assert [engine.name for engine in chosen.engines] == ["sglang"]
    assert chosen.explicit


# --- repair ------------------------------------------------------------------


def test_one_list_serves_both_and_says_who_needs_what(run: Run, folder: Folder) -> None:
    made = mtpfix.plan(str(folder))
    assert set(made.plan.added) == {FOR_VLLM, FOR_SGLANG, ON_DISK}
    assert made.plan.needed_by == {
        FOR_VLLM: ("vLLM",),
        FOR_SGLANG: ("SGLang",),
        ON_DISK: (),
    }
    assert not made.plan.unresolved
    assert run("rewrite", folder, "--write").code == 0
    assert set(entries(folder.ignored())) == {FOR_VLLM, FOR_SGLANG, ON_DISK}
    assert run("check", folder, "--vllm", "all", "--sglang", "all", "--platform", "all").code == 0
    assert run("rewrite", folder).code == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--vllm", "all"], {FOR_VLLM, ON_DISK}),
        (["--vllm", "all", "--sglang", "0.5.23"], {FOR_VLLM, FOR_SGLANG, ON_DISK}),
    ],
)
def test_entries_are_for_whom_was_asked(
    run: Run, folder: Folder, words: list[str], expected: set[str]
) -> None:
    assert run("rewrite", folder, *words, "--write").code == 0
    assert set(entries(folder.ignored())) == expected


def test_for_sglang_alone_the_list_is_in_its_spelling(run: Run, folder: Folder) -> None:
    assert run("rewrite", folder, "--sglang", "all", "--write").code == 0
    written = entries(folder.ignored())
    assert FOR_SGLANG in written
    assert all(r"\.layers" not in text for text in written)


@pytest.mark.usefixtures("clash")
def test_what_one_list_cannot_say_is_said_for_vllm(run: Run, folder: Folder) -> None:
    made = mtpfix.plan(str(folder))
    assert set(made.plan.added) == {FOR_VLLM, ON_DISK}
    assert {stays.engine for stays in made.plan.unresolved} == {"sglang"}
    for stays in made.plan.unresolved:
        assert "SGLang cannot be served by the same list" in stays.reason
        assert "mtpfix override --engine sglang" in (stays.remedy or "")
    ran = run("rewrite", folder, "--write")
    assert ran.code == 0
    said = " ".join(ran.err.split())
    assert "SGLang cannot be served by the same list" in said
    assert "`mtpfix override --engine sglang` says what SGLang needs instead" in said
    assert run("check", folder).code == 0


@pytest.mark.usefixtures("clash")
def test_no_entry_moves_a_module_of_the_other_target_model(folder: Folder) -> None:
    before = mtpfix.inspect(str(folder), sglang=["all"], platforms=["cuda"], trunk=True)
    mtpfix.rewrite(str(folder), write=True)
    after = mtpfix.inspect(str(folder), sglang=["all"], platforms=["cuda"], trunk=True)

    def trunk(report: mtpfix.Report) -> list[tuple[str, str]]:
        modules = (module.decision for engine in report.engines for module in engine.modules)
        return [(d.module.name, d.built) for d in modules if d.module.part == "trunk"]

    assert trunk(before) == trunk(after)


def test_different_lists_are_planned_for_vllm_with_a_note(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = fake_sglang.FakeSglang.metadata

    def elsewhere(
        engine: fake_sglang.FakeSglang, configs: Mapping[str, JsonFile]
    ) -> QuantView | None:
        view = own(engine, configs)
        return view and replace(view, ignore_pointer="/compression_config/ignore")

    monkeypatch.setattr(fake_sglang.FakeSglang, "metadata", elsewhere)
    ran = run("rewrite", folder)
    assert FOR_SGLANG not in ran.out
    assert "SGLang reads another list than vLLM" in " ".join(ran.err.split())
    both = run("rewrite", folder, "--vllm", "all", "--sglang", "all")
    assert both.code == 3
    assert "the engines read different lists" in both.err


def test_names_are_those_of_both(run: Run, folder: Folder) -> None:
    ran = run("names", folder)
    assert ran.code == 0
    assert "vLLM 0.20-" in ran.out
    assert "SGLang 0.5.21-0.5.23" in ran.out
    assert "model.decoder.self_attn.qkv_proj" in ran.out
    assert FOR_SGLANG in ran.out
    assert FOR_VLLM in ran.out
    assert "SGLang" not in run("names", folder, "--vllm", "all").out
    found = run("names", folder, "--format", "json")
    validator("mtpfix.names/1").validate(found.json)
    labels = {label for group in found.json["groups"] for label in group["releases"]}
    assert {"SGLang 0.5.23", "vLLM 0.32.0"} <= labels


def test_the_override_is_vllms(run: Run, folder: Folder) -> None:
    ran = run("override", folder)
    assert ran.code == 0
    assert "--hf-overrides" in ran.out


# --- reports -----------------------------------------------------------------


@pytest.mark.parametrize("command", ["inspect", "check"])
@pytest.mark.parametrize("form", ReportFormat)
def test_every_report_speaks_of_both(
    run: Run, folder: Folder, command: str, form: ReportFormat
) -> None:
    ran = run(command, folder, "--vllm", "0.32.0", "--sglang", "0.5.23", "--format", form.value)
    said = " ".join(ran.out.split())
    assert "SGLang 0.5.23" in said
    assert "vLLM 0.32.0" in said
    assert "vLLM and SGLang 0" not in said


@pytest.mark.parametrize("form", RepairFormat)
def test_every_repair_speaks_of_both(run: Run, folder: Folder, form: RepairFormat) -> None:
    ran = run("rewrite", folder, "--format", form.value)
    said = ran.out + ran.err
    assert FOR_SGLANG in said or json.dumps(FOR_SGLANG)[1:-1] in said
    assert "SGLang" in said
    assert "vLLM" in said


def test_json_validates_and_names_the_engine_everywhere(run: Run, folder: Folder) -> None:
    report = run("inspect", folder, "--format", "json").json
    validator("mtpfix.report/1").validate(report)
    assert {label for f in report["findings"] for label in f["releases"]} == {
        f"vLLM {NEWEST}",
        "SGLang 0.5.23",
    }
    repair = run("rewrite", folder, "--format", "json").json
    validator("mtpfix.rewrite/1").validate(repair)
    assert repair["needed_by"][FOR_SGLANG] == ["SGLang"]
    assert {each["engine"] for each in repair["before"]["outcomes"]} == {"vllm", "sglang"}
    planned = {e["engine"]: e["releases"] for e in repair["selection"]["planned"]["engines"]}
    assert planned["sglang"] == ["0.5.21", "0.5.22", "0.5.23"]
    alone = run("rewrite", folder, "--vllm", "all", "--format", "json").json
    assert "needed_by" not in alone
    assert "engines" not in alone["selection"]["planned"]


def test_inspect_sets_both_side_by_side(run: Run, folder: Folder) -> None:
    shown = run("inspect", folder).out
    (head,) = [line for line in shown.splitlines() if "draft module on disk" in line]
    assert head.split() == [
        "draft",
        "module",
        "on",
        "disk",
        "on",
        "disk",
        "vLLM",
        "builds",
        "SGLang",
        "builds",
    ]
    (row,) = [line for line in shown.splitlines() if "self_attn.q_proj " in line]
    assert row.split() == ["self_attn.q_proj", "bf16", "✗", "W8A8Fp8", "✗", "quantized"]
    (only,) = [line for line in shown.splitlines() if line.split()[:1] == ["input_proj"]]
    assert only.split() == ["input_proj", "bf16", "-", "✗", "quantized"]


def test_what_both_say_is_said_once(run: Run, folder: Folder) -> None:
    """A file that is not loaded is that for both."""
    (folder.path / "extra.bin").write_bytes(b"")
    folder.save(num_nextn_predict_layers=0)
    report = mtpfix.inspect(str(folder), vllm=["0.32.0"], sglang=["0.5.23"])
    messages = [finding.message for finding in report.findings]
    assert len(messages) == len(set(messages))
