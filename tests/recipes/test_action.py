"""action.yml: its steps, run as the runner runs them, on folders of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.unit.cli.conftest import Folder

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
SHELL = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
"""How the runner starts `shell: bash`."""
HEAVY = {"compressed-tensors", "psutil", "safetensors", "torch"}
"""What a repair needs, and the gate does not."""


@pytest.fixture(scope="module", name="action")
def _action() -> Any:
    return yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))


class Ran(NamedTuple):
    code: int
    out: str
    summary: str
    outputs: dict[str, str]


class Runner:
    """A job: its folders and files, and a program that stands where the first step put it."""

    def __init__(self, action: Any, where: Path) -> None:
        self.action = action
        self.where = where
        self.temp = where / "runner temp"
        self.temp.mkdir()
        self.program = where / "mtpfix"
        self.program.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -m mtpfix "$@"\n', encoding="utf-8"
        )
        self.program.chmod(0o755)

    def check(self, **inputs: str) -> Ran:
        """Runs the step `check`, with the defaults of all inputs that are not given."""
        step = next(step for step in self.action["runs"]["steps"] if step["id"] == "check")
        given = {name: value["default"] for name, value in self.action["inputs"].items()}
        given |= {name.replace("_", "-"): value for name, value in inputs.items()}
        env = {key: self._filled(value, given) for key, value in step["env"].items()}
        files = {name: self.where / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for file in files.values():
            file.write_text("", encoding="utf-8")
        ran = subprocess.run(
            [*SHELL, "-c", step["run"]],
            cwd=self.where,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith(("MTPFIX_", "HF_"))},
                "PYTHONPATH": str(ROOT),
                "RUNNER_TEMP": str(self.temp),
                **{name: str(file) for name, file in files.items()},
                **env,
            },
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        told = files["GITHUB_OUTPUT"].read_text(encoding="utf-8").splitlines()
        return Ran(
            ran.returncode,
            ran.stdout + ran.stderr,
            files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8"),
            dict(line.split("=", 1) for line in told),
        )

    def _filled(self, value: str, given: dict[str, str]) -> str:
        """A value of `env` with its expression evaluated."""
        expression = value.removeprefix("${{ ").removesuffix(" }}")
        if expression == "steps.install.outputs.program":
            return str(self.program)
        return given[expression.removeprefix("inputs.")]


@pytest.fixture(name="runner")
def _runner(action: Any, tmp_path: Path) -> Runner:
    return Runner(action, tmp_path)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "model")


def test_a_broken_checkpoint_fails_the_job(runner: Runner, folder: Folder) -> None:
    ran = runner.check(target="model", html_file="page.html")
    assert ran.code == 1
    assert ran.out.startswith("::error file=model/config.json,line=")
    assert ran.outputs == {"exit-code": "1", "sarif-file": "mtpfix.sarif"}
    assert ran.summary.startswith("### ✗ `model`")
    found = json.loads((runner.where / "mtpfix.sarif").read_text(encoding="utf-8"))
    assert found["runs"][0]["results"][0]["ruleId"] == "MTP201"
    assert (runner.where / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_right_one_passes(runner: Runner, folder: Folder) -> None:
    folder.ignore("lm_head", "re:^model\\.layers\\.2\\..*", "re:^model\\.mtp_layers\\.0\\..*")
    ran = runner.check(target="model\n", vllm="0.32.0\n>=0.30, <0.32", platform="cuda\nrocm")
    assert ran.code == 0, ran.out
    assert ran.outputs["exit-code"] == "0"
    assert "0.30-0.32" in ran.summary


def test_several_targets_and_options(runner: Runner, folder: Folder) -> None:
    ran = runner.check(target="model\nno such folder", arguments="--fail-on=never\n--jobs\n2")
    assert ran.code == 2
    assert ran.outputs["exit-code"] == "2"
    assert "no such folder" in ran.out
    assert "`model`" in ran.summary
    assert "`no such folder`" in ran.summary


def test_what_cannot_be_read_fails_without_files(runner: Runner) -> None:
    ran = runner.check(target="nowhere")
    assert (ran.code, ran.outputs, ran.summary) == (2, {"exit-code": "2"}, "")
    assert "error: " in ran.out


@pytest.mark.parametrize("word", ['$(touch owned)`touch owned`; touch owned; "; touch owned', "-h"])
def test_no_input_is_run(runner: Runner, folder: Folder, word: str) -> None:
    for given in ({"target": word}, {"vllm": word}, {"platform": word}, {"sarif_file": word}):
        ran = runner.check(**{"target": "model", **given})
        assert ran.code in (1, 2)
    assert not (runner.where / "owned").exists()


def test_inputs_reach_a_shell_by_the_environment_alone(action: Any) -> None:
    for step in action["runs"]["steps"]:
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"


def test_what_is_installed_is_what_the_gate_needs(action: Any) -> None:
    """The project as it is, with no extra and no list of its own."""
    step = next(step for step in action["runs"]["steps"] if step["id"] == "install")
    installed = [line.split() for line in step["run"].splitlines() if "pip install" in line]
    assert installed == [["pip", "install", '"$ACTION_PATH"']]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {needed.partition(">")[0] for needed in project["dependencies"]}
    full = {needed.partition(">")[0] for needed in project["optional-dependencies"]["full"]}
    assert not names & HEAVY
    assert full >= HEAVY


def test_the_action_is_described(action: Any) -> None:
    """What a marketplace and a caller need, and no input that nothing reads."""
    assert {"name", "description", "inputs", "outputs", "runs"} <= set(action)
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    for name, stated in action["inputs"].items():
        assert stated["description"].endswith(".")
        assert "default" in stated
        assert f"${{{{ inputs.{name} }}}}" in text
