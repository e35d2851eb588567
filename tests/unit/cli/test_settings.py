"""Defaults from mtpfix.toml and pyproject.toml."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .conftest import Folder, Run


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    path = tmp_path / "work"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


def write(folder: Path, text: str, name: str = "mtpfix.toml") -> None:
    (folder / name).write_text(text, encoding="utf-8")


ALL = """
vllm = ["0.31", ">=0.32,<0.33"]
platform = "rocm"
select = "MTP2"
ignore = ["MTP3"]
fail-on = "never"
format = "json"
"""


@pytest.mark.parametrize(
    ("name", "text"), [("mtpfix.toml", ALL), ("pyproject.toml", f"[tool.mtpfix]\n{ALL}")]
)
def test_every_setting_is_heeded(
    run: Run, folder: Folder, work: Path, name: str, text: str
) -> None:
    write(work, text, name)
    ran = run("check", folder)
    assert ran.code == 0
    assert [(e["version"], e["platform"]) for e in ran.json["engines"]] == [
        ("0.31.0", "rocm"),
        ("0.32.0", "rocm"),
    ]
    assert {f["code"] for f in ran.json["findings"]} == {"MTP201"}
    assert ran.err == f"defaults from {name}: vllm, platform, select, ignore, fail-on, format\n"


def test_the_command_line_goes_before_the_environment_before_the_file(
    run: Run, folder: Folder, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(*options: str) -> str:
        ran = run("check", folder, "--format", "json", *options)
        found: str = ran.json["engines"][0]["version"]
        return found

    write(work, 'vllm = "0.30"')
    assert version() == "0.30.0"
    monkeypatch.setenv("MTPFIX_VLLM", "0.31")
    assert version() == "0.31.0"
    assert version("--vllm", "0.32") == "0.32.0"


def test_the_own_file_goes_before_the_shared_one(run: Run, folder: Folder, work: Path) -> None:
    write(work, 'fail-on = "never"')
    write(work, '[tool.mtpfix]\nformat = "json"', "pyproject.toml")
    ran = run("check", folder)
    assert ran.code == 0
    assert ran.err == "defaults from mtpfix.toml: fail-on\n"


@pytest.mark.parametrize("text", ["", "[tool.other]\nx = 1", "tool = 3", "[project]"])
def test_a_shared_file_of_others_is_passed_over(
    run: Run, folder: Folder, work: Path, text: str
) -> None:
    write(work, text, "pyproject.toml")
    ran = run("check", folder)
    assert (ran.code, ran.err) == (1, "")


def test_a_command_heeds_what_it_knows(run: Run, folder: Folder, work: Path) -> None:
    write(work, 'vllm = "0.32"\nformat = "sarif"\nfail-on = "never"')
    ran = run("rewrite", folder)
    assert ran.out.startswith("--- a/config.json")
    assert "vLLM 0.32" in ran.err
    assert ran.err.startswith("defaults from mtpfix.toml: vllm, fail-on\n")
    assert run("names", folder).err == "defaults from mtpfix.toml: vllm\n"
    assert run("explain", "MTP201").err == ""
    write(work, 'format = "markdown"')
    assert "| before | after |" in run("rewrite", folder).out


@pytest.mark.parametrize(
    "text",
    [
        "colour = 1",
        'fail_on = "never"',
        'fail-on = "sometimes"',
        "fail-on = 1",
        'fail-on = ["never"]',
        'format = "pdf"',
        "vllm = 0.32",
        "vllm = []",
        'vllm = ["0.32", 3]',
        'vllm = ""',
        'platform = ["toaster"]',
        "select = {a = 1}",
        "no toml",
        'x = "\\u0007',
        f"vllm = {'[' * 5000}",
        '"a\\u202e\\u001b" = 1',
        f"# {'x' * (1 << 20)}",
    ],
)
def test_what_is_no_setting_is_a_usage_error_of_one_line(
    run: Run, folder: Folder, work: Path, text: str
) -> None:
    write(work, text)
    ran = run("check", folder)
    assert (ran.code, ran.out) == (2, "")
    error, hint = ran.err.splitlines()
    assert error.startswith("error: mtpfix.toml: ")
    assert hint.startswith("hint: ")
    assert ran.err.replace("\n", "").isprintable()
    assert run("--isolated", "check", folder).code == 1


def test_a_table_is_expected(run: Run, folder: Folder, work: Path) -> None:
    write(work, "[tool]\nmtpfix = 3", "pyproject.toml")
    ran = run("check", folder)
    assert ran.code == 2
    assert ran.err.startswith("error: pyproject.toml: `mtpfix` is not a table")


def test_a_value_that_only_the_command_can_judge(run: Run, folder: Folder, work: Path) -> None:
    write(work, 'select = "MTP7"')
    assert run("check", folder).code == 2
    write(work, 'vllm = "newer"')
    assert run("check", folder).code == 2


def test_bytes_that_are_no_text(run: Run, folder: Folder, work: Path) -> None:
    (work / "mtpfix.toml").write_bytes(b'vllm = "\xff"')
    ran = run("check", folder)
    assert ran.code == 2
    assert "not TOML" in ran.err


def test_what_is_no_regular_file_is_not_opened(run: Run, folder: Folder, work: Path) -> None:
    os.mkfifo(work / "mtpfix.toml")
    (work / "pyproject.toml").mkdir()
    assert run("check", folder).code == 1


def test_isolation_by_the_environment(
    run: Run, folder: Folder, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(work, 'fail-on = "never"')
    monkeypatch.setenv("MTPFIX_ISOLATED", "1")
    assert run("check", folder).code == 1


def test_help_and_version_need_no_file(run: Run, work: Path) -> None:
    write(work, "broken")
    assert run("--version").code == 0
    assert run("--help").code == 0
