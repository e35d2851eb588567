"""`--format` and `--also`: where each format goes, and what exit code it leaves."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest

from .conftest import Folder, Run


def test_annotations_lead_to_the_line(run: Run, folder: Folder) -> None:
    ran = run("check", folder, "--format", "github")
    assert ran.code == 1
    first = ran.out.splitlines()[0]
    config = (folder.path / "config.json").read_text(encoding="utf-8").splitlines()
    line = next(n for n, text in enumerate(config, 1) if '"Linear"' in text)
    assert first.startswith(f"::error file={folder}/config.json,line={line},title=MTP201%3A")


def test_sarif_exits_0_on_findings_alone(run: Run, folder: Folder) -> None:
    ran = run("check", folder, "--format", "sarif")
    assert ran.code == 0
    (made,) = ran.json["runs"]
    assert made["invocations"][0]["exitCode"] == 1
    assert made["results"][0]["ruleId"] == "MTP201"
    folder.save(architectures=["UnheardOfForCausalLM"])
    assert run("check", folder, "--format", "sarif").code == 3


@pytest.mark.parametrize("command", ["inspect", "check"])
def test_junit_and_markdown(run: Run, folder: Folder, command: str) -> None:
    code = int(command == "check")
    ran = run(command, folder, "--format", "junit")
    assert ran.code == code
    assert ET.fromstring(ran.out).get("failures") == "1"
    ran = run(command, folder, "--format", "markdown")
    assert ran.code == code
    assert ran.out.startswith("### ✗ ")


FIX = "to the ignore list"
"""Stands in every fix of the folder, and in nothing else that is said of it."""


@pytest.mark.parametrize(
    "form", ["json", "sarif", "junit", "github", "gitlab", "html", "markdown", "text"]
)
def test_check_plans_a_repair_where_it_is_asked_to(
    run: Run, folder: Folder, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    verbose = ("--verbose",) if form == "text" else ()
    assert FIX not in run("check", folder, *verbose, "--format", form).out
    planned = run("check", folder, "--fixes", *verbose, "--format", form).out
    assert FIX in planned
    monkeypatch.setenv("MTPFIX_FIXES", "1")
    assert run("check", folder, *verbose, "--format", form).out == planned


def test_the_field_of_a_fix_is_always_there(run: Run, folder: Folder) -> None:
    (found,) = run("check", folder, "--json").json["findings"]
    (planned,) = run("check", folder, "--fixes", "--json").json["findings"]
    inspected, *_ = run("inspect", folder, "--json").json["findings"]
    assert found["fix"] is None
    assert planned["fix"]["edits"]
    assert inspected["fix"]["edits"]  # for both engines
    assert found == {**planned, "fix": None}


def test_also_writes_the_same_result_to_files(run: Run, folder: Folder) -> None:
    files = {form: folder.path.parent / form for form in ("sarif", "markdown", "text", "json")}
    also = [word for form, file in files.items() for word in ("--also", f"{form}={file}")]
    ran = run("check", folder, "--format", "github", *also)
    assert ran.code == 1
    assert ran.out.startswith("::error ")
    for form, file in files.items():
        assert file.read_text(encoding="utf-8") == run("check", folder, "--format", form).out


def test_also_comes_from_the_environment(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder.path.parent / "out.json"
    monkeypatch.setenv("MTPFIX_ALSO", f"json={file}")
    run("check", folder)
    assert json.loads(file.read_text(encoding="utf-8"))["exit_code"] == 1


@pytest.mark.parametrize("value", ["sarif", "sarif=", "=x", "pdf=x"])
def test_also_has_a_form(run: Run, folder: Folder, value: str) -> None:
    ran = run("check", folder, "--also", value)
    assert ran.code == 2
    assert ran.err.startswith(f"error: --also {value}: ")
    assert not ran.out


def test_a_file_that_cannot_be_written_is_an_error(run: Run, folder: Folder) -> None:
    ran = run("check", folder, "--also", f"json={folder}")
    assert ran.code == 2
    assert "cannot be written" in ran.err


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("option", ["--output-file", "--also"])
def test_no_report_replaces_a_file_of_a_checkpoint(
    run: Run, folder: Folder, name: str, option: str
) -> None:
    before = folder.bytes()
    path = folder.path / name
    ran = run("check", folder, option, f"json={path}" if option == "--also" else path)
    assert ran.code == 2
    assert "a file of a checkpoint" in ran.err
    assert folder.bytes() == before


def test_a_repair_as_the_text_of_a_pull_request(run: Run, folder: Folder) -> None:
    ran = run("rewrite", folder, "--vllm", "0.32", "--vllm", "0.33", "--format", "markdown")
    assert ran.code == 1
    assert "| vLLM | before | after |" in ran.out
    assert f"mtpfix rewrite {folder} --vllm 0.32 --vllm 0.33" in ran.out
    assert not ran.err
    ran = run("rewrite", folder, "--write", "--platform", "cuda", "--format", "markdown")
    assert ran.code == 0
    assert "--platform cuda" in ran.out
    ran = run("rewrite", folder, "--format", "markdown")
    assert ran.code == 0
    assert ran.out.startswith("Nothing to change: ")
