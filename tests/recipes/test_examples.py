"""The scripts in `examples/`: their own functions, on folders such as the libraries write."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from huggingface_hub import constants

import mtpfix
from mtpfix.cli.settings import tomllib
from tests.hub.conftest import _hub, _repo  # noqa: F401 - fixtures
from tests.hub.server import GOOD_TOKEN, Hub, Repo
from tools.forge import forge

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    """A script, imported and not run."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def value(folder: Path, name: str = "config.json") -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


# --- llm-compressor ----------------------------------------------------------


@pytest.fixture(name="saved")
def _saved(tmp_path: Path) -> Path:
    """As `save_pretrained` leaves it: the recipe ignored the head, nobody thought of MTP."""
    return forge("mimo", tmp_path / "saved", "ct-fp8-channel").folder


def test_llm_compressor_saves_and_is_mended(saved: Path) -> None:
    assert mtpfix.check(saved, vllm=["0.32.0"]).exit_code == 1
    files = {path.name for path in saved.iterdir()}
    with example("after_llm_compressor").saving(saved):
        pass
    assert mtpfix.check(saved, vllm=[">=0.28"]).ok
    assert {path.name for path in saved.iterdir()} == files
    assert any("mtp_layers" in e for e in value(saved)["quantization_config"]["ignore"])


def test_the_recipe_gets_the_names_that_need_no_repair(saved: Path, tmp_path: Path) -> None:
    entries = example("after_llm_compressor").ignored(saved, "lm_head")
    assert entries[0] == "lm_head"
    made = forge("mimo", tmp_path / "right", "ct-fp8-channel", ignore=entries).folder
    before = (made / "config.json").read_bytes()
    with example("after_llm_compressor").saving(made):
        pass
    assert (made / "config.json").read_bytes() == before


def test_llm_compressor_ends_where_nothing_helps(tmp_path: Path) -> None:
    made = forge("mimo", tmp_path / "mixed", "ct-fp8-channel", mtp="mixed").folder
    config = value(made)
    config["num_nextn_predict_layers"] = 2  # and only one is there
    (made / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with (
        pytest.raises(mtpfix.GateError, match="MTP"),
        example("after_llm_compressor").saving(made),
    ):
        pass


# --- ModelOpt ----------------------------------------------------------------


def test_modelopt_exports_and_is_mended(tmp_path: Path) -> None:
    """As `export_hf_checkpoint` leaves it: nobody excluded the MTP block by vLLM's names."""
    folder = forge("mimo", tmp_path / "exported", "modelopt-fp8").folder
    diff = example("after_modelopt").finish(folder)
    assert "+++ " in diff
    assert mtpfix.check(folder, vllm=[">=0.28"]).exit_code == 0
    assert example("after_modelopt").finish(folder) == ""


# --- before upload_folder ----------------------------------------------------


@pytest.fixture(name="login")
def _login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", GOOD_TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the server speaks LFS only


def test_a_broken_folder_is_not_uploaded(hub: Hub, repo: Repo, login: None, saved: Path) -> None:
    before = repo.branches["main"]
    with pytest.raises(mtpfix.GateError, match="MTP201"):
        example("check_before_upload").upload(saved, "org/v4")
    assert repo.branches["main"] == before


# huggingface_hub itself says to its client what that no longer likes to hear.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_a_right_folder_is_uploaded(hub: Hub, repo: Repo, login: None, saved: Path) -> None:
    mtpfix.rewrite(saved, vllm=[">=0.28"], backup=False, write=True)
    url = example("check_before_upload").upload(saved, "org/v4")
    commit = repo.branches["main"]
    assert url.endswith(f"/org/v4/commit/{commit}")
    assert set(repo.commits[commit]) >= {path.name for path in saved.iterdir()}


# --- hf mtpfix ---------------------------------------------------------------


def _hf_extensions() -> Path:
    """Where the hf CLI looks for extensions; that CLI asks for a newer typer than mtpfix does."""
    try:
        extensions = importlib.import_module("huggingface_hub.cli.extensions")
    except (ImportError, TypeError) as error:
        pytest.skip(f"the hf CLI does not run here: {error}")
    root: Path = extensions.EXTENSIONS_ROOT
    return root


def test_the_hf_command_line_runs_it(saved: Path, tmp_path: Path) -> None:
    """The real `hf`, in a home of its own: the same words, and the same exit code."""
    program = tmp_path / "hf-mtpfix"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mtpfix "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    known = _hf_extensions().relative_to("~")
    example("hf_extension").register(program, tmp_path / known)
    command = [sys.executable, "-m", "huggingface_hub.cli.hf", "mtpfix"]
    env = {**os.environ, "HOME": str(tmp_path), "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    env["PYTHONPATH"] = str(EXAMPLES.parent)
    for words, code in ((["--version"], 0), (["check", str(saved)], 1), (["check", "nowhere"], 2)):
        ran = subprocess.run(
            [*command, *words], env=env, capture_output=True, text=True, check=False
        )
        ours = subprocess.run(
            [str(program), *words], env=env, capture_output=True, text=True, check=False
        )
        assert (ran.returncode, ran.stdout) == (code, ours.stdout), ran.stderr
        assert ran.stderr.endswith(ours.stderr)
    assert _hf_extensions() == example("hf_extension").EXTENSIONS


def test_the_extension_to_install_is_this_project() -> None:
    ours = tomllib.loads((EXAMPLES.parent / "pyproject.toml").read_text(encoding="utf-8"))
    other = tomllib.loads((EXAMPLES / "hf-mtpfix/pyproject.toml").read_text(encoding="utf-8"))
    assert other["project"]["dependencies"] == ["mtpfix[full]"]
    assert other["project"]["requires-python"] == ours["project"]["requires-python"]
    assert ours["project"]["scripts"]["hf-mtpfix"] == ours["project"]["scripts"]["mtpfix"]
