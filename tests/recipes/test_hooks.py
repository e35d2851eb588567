"""The hooks: pre-commit's, and git's own pre-push."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.unit.cli.conftest import Folder

ROOT = Path(__file__).parents[2]
MENDED = ("lm_head", "re:^model\\.layers\\.2\\..*", "re:^model\\.mtp_layers\\.0\\..*")

Git = Callable[..., "subprocess.CompletedProcess[str]"]


# --- pre-commit --------------------------------------------------------------


def test_the_hook_of_pre_commit() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert hook["entry"] == "mtpfix check"
    assert hook["language"] == "python"
    files = re.compile(hook["files"])
    for name in (
        "config.json",
        "a/config.json",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "hf_quant_config.json",
    ):
        assert files.search(name), name
    for name in ("README.md", "tokenizer_config.json", "generation_config.json", "config.json.bak"):
        assert not files.search(name), name


# --- pre-push ----------------------------------------------------------------


@pytest.fixture(name="git")
def _git(tmp_path: Path) -> Git:
    """Runs git in the checkpoint's repo; `mtpfix` is the one under test."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "mtpfix").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m mtpfix "$@"\n', encoding="utf-8"
    )
    (tools / "mtpfix").chmod(0o755)
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "MTPFIX_"))},
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(tmp_path / "model"), *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    return git


@pytest.fixture(name="folder")
def _folder(git: Git, tmp_path: Path) -> Folder:
    """A checkpoint in a repo that has the hook, and a place to push to."""
    folder = Folder(tmp_path / "model")
    git("init", "-q", "-b", "main")
    git("init", "-q", "--bare", str(tmp_path / "remote"))
    git("remote", "add", "origin", str(tmp_path / "remote"))
    shutil.copy(ROOT / "examples" / "pre-push", folder.path / ".git" / "hooks" / "pre-push")
    return folder


def commit(git: Git) -> None:
    git("add", "-A")
    assert git("commit", "-qm", "x").returncode == 0


def test_a_broken_checkpoint_is_not_pushed(git: Git, folder: Folder) -> None:
    commit(git)
    ran = git("push", "origin", "main")
    assert ran.returncode != 0
    assert "MTP201" in ran.stderr
    assert "pre-push: nothing was pushed (mtpfix check: exit code 1)" in ran.stderr
    assert git("ls-remote", "origin").stdout == ""
    assert git("push", "--no-verify", "origin", "main").returncode == 0


def test_a_right_one_is_pushed(git: Git, folder: Folder) -> None:
    folder.ignore(*MENDED)
    commit(git)
    git("config", "mtpfix.options", "--vllm 0.32.0 --platform cuda")
    ran = git("push", "origin", "main")
    assert ran.returncode == 0, ran.stderr
    assert "refs/heads/main" in git("ls-remote", "origin").stdout


def test_what_is_judged_is_what_is_pushed(git: Git, folder: Folder) -> None:
    commit(git)
    folder.ignore(*MENDED)  # in the work tree alone
    ran = git("push", "origin", "main")
    assert ran.returncode != 0
    assert "the work tree differs from" in ran.stderr


def test_folders_may_be_named(git: Git, folder: Folder) -> None:
    inside = Folder(folder.path / "b c")
    inside.ignore(*MENDED)
    commit(git)
    git("config", "--add", "mtpfix.target", "b c")
    assert git("push", "origin", "main").returncode == 0
    git("config", "--add", "mtpfix.target", ".")
    git("commit", "--allow-empty", "-qm", "y")
    assert git("push", "origin", "main").returncode != 0


def test_a_branch_may_be_deleted(git: Git, folder: Folder) -> None:
    commit(git)
    git("push", "--no-verify", "origin", "main:old")
    assert git("push", "origin", ":old").returncode == 0
