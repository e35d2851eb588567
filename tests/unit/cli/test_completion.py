"""Shell completion, as the shells ask for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def completed(line: str) -> list[str]:
    """What bash offers for the last word of a line."""
    asked = {
        **os.environ,
        "_MTPFIX_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    command = [sys.executable, "-m", "mtpfix"]
    ran = subprocess.run(command, env=asked, capture_output=True, text=True, check=True)
    assert not ran.stderr
    return ran.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("mtpfix ch", ["check"]),
        ("mtpfix check --format s", ["sarif"]),
        ("mtpfix check --fail-on ", ["error", "warning", "never"]),
        ("mtpfix check --vllm 0.32", ["0.32.0"]),
        ("mtpfix explain MTP90", [f"MTP90{n}" for n in range(1, 5)]),
    ],
)
def test_words_are_offered(line: str, offered: list[str]) -> None:
    assert completed(line)[: len(offered)] == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell: str) -> None:
    asked = {**os.environ, "_MTPFIX_COMPLETE": f"source_{shell}"}
    command = [sys.executable, "-m", "mtpfix"]
    ran = subprocess.run(command, env=asked, capture_output=True, text=True, check=True)
    assert "_MTPFIX_COMPLETE" in ran.stdout
