"""A second engine goes through every command that judges or repairs, and every renderer."""

from __future__ import annotations

import json

import pytest

import mtpfix
from mtpfix import calls
from mtpfix.cli.options import RepairFormat, ReportFormat
from mtpfix.engines import registry
from mtpfix.selection import select
from mtpfix.targets import Reference

from .conftest import Folder, Run
from .fake_engine import Fake

ENTRY = r"re:^model\.mtp_layers\..*"


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENGINES, "fake", "tests.unit.cli.fake_engine")
    monkeypatch.setattr(registry, "BESIDE", ("fake",))


@pytest.mark.parametrize("command", ["inspect", "check"])
@pytest.mark.parametrize("form", ReportFormat)
def test_every_report_speaks_of_the_engine(
    run: Run, folder: Folder, command: str, form: ReportFormat
) -> None:
    ran = run(command, folder, "--engine", "fake", "--format", form.value)
    assert ran.code == (1 if command == "check" and form is not ReportFormat.sarif else 0)
    shown = ran.out
    if form is ReportFormat.sarif:  # what codes mean is explained by examples of vLLM
        shown = json.dumps(ran.json["runs"][0]["results"])
    said = " ".join(shown.split())
    named = form is ReportFormat.sarif or "Fake" in said or '"engine": "fake"' in said
    assert named
    assert "vLLM" not in said


@pytest.mark.parametrize("form", RepairFormat)
def test_the_repair_is_planned_for_the_engine(run: Run, folder: Folder, form: RepairFormat) -> None:
    ran = run("rewrite", folder, "--engine", "fake", "--format", form.value)
    assert ran.code == 1
    assert json.dumps(ENTRY) in ran.out or ENTRY in ran.out
    assert "vLLM" not in ran.out + ran.err


def test_a_repair_is_written_and_judged_again(run: Run, folder: Folder) -> None:
    assert run("rewrite", folder, "--engine", "fake", "--write").code == 0
    assert folder.ignored() == ["lm_head", ENTRY]
    checked = run("check", folder, "--engine", "fake")
    assert checked.code == 0
    assert "MTP" not in checked.out.replace("MTP layer", "")
    assert run("check", folder, "--engine", "fake>=1", "--platform", "all").code == 0


def test_each_release_of_a_requirement_is_judged(folder: Folder) -> None:
    report = mtpfix.inspect(str(folder), engines=["fake<2"])
    assert [engine.version for engine in report.engines] == list(Fake.releases)
    report = mtpfix.inspect(str(folder), engines=["fake==1.0.0"])
    assert [engine.version for engine in report.engines] == ["1.0.0"]


def test_the_selection_knows_the_engine_by_its_name(folder: Folder) -> None:
    selection = select(fake=["1.0.0"])
    report = calls.check(Reference(str(folder)), selection)
    assert [(engine.engine, engine.version) for engine in report.engines] == [("fake", "1.0.0")]


def test_two_engines_are_judged_side_by_side(run: Run, folder: Folder) -> None:
    report = mtpfix.inspect(str(folder), engines=["fake", "vllm==0.32.0"])
    judged = [(engine.engine, engine.version) for engine in report.engines]
    assert judged == [("fake", "1.1.0"), ("vllm", "0.32.0")]
    assert run("rewrite", folder, "--engine", "fake", "--engine", "vllm", "--write").code == 0
    assert run("check", folder, "--engine", "fake", "--vllm", "all").code == 0


@pytest.mark.parametrize("given", ["", "fake[x]", "fake; python_version>'3'", "no", "fake>="])
def test_what_is_no_engine_is_said_in_one_line(run: Run, folder: Folder, given: str) -> None:
    ran = run("check", folder, "--engine", given)
    assert ran.code == 2
    assert ran.err.count("\n") <= 2


def test_an_engine_that_names_no_modules_is_said(run: Run, folder: Folder) -> None:
    ran = run("names", folder, "--engine", "fake", "--engine", "vllm")
    assert ran.code == 3
    assert "cannot name modules for Fake" in ran.err
    alone = run("names", folder)
    assert alone.code == 0
    assert "Fake" not in alone.out + alone.err
