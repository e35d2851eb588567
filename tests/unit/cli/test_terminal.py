"""What a person sees at a terminal: colours, and lines of progress that are taken back."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mtpfix.cli import output

from .conftest import Folder, Run

RED = "\x1b[31m"


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


def screen_of(text: str) -> list[str]:
    """The lines that stand on a terminal after `text` was written to it."""
    lines = [""]
    for piece in re.findall(r"\r\n|\r\033\[K|\r|\n|[^\r\n]+", text):
        if piece in ("\n", "\r\n"):
            lines.append("")
        elif piece.startswith("\r"):
            lines[-1] = "" if piece.endswith("K") else lines[-1]
        else:
            lines[-1] += piece
    return lines


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Puts a terminal in the place of stderr, where pytest has put its own before the test."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(output, "_standing", False)
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    return made


def test_a_line_of_progress_does_not_run_into_what_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = terminal(monkeypatch)
    output.progress("judged 1 of 3")
    output.note("error: no such repo")
    output.progress("judged 2 of 3")
    output.progress("")
    output.note("done")
    assert screen_of(shown.getvalue()) == ["error: no such repo", "done", ""]


def test_what_takes_its_time_is_taken_back_before_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = terminal(monkeypatch)
    with output.working("reading " + "x" * 200):
        standing = screen_of(shown.getvalue())
        output.note("error: broken")
    assert len(standing[-1]) < 80
    assert screen_of(shown.getvalue()) == ["error: broken", ""]


@pytest.mark.parametrize(
    ("said", "colored"),
    [
        ("--color=auto", False),
        ("FORCE_COLOR=1", True),
        ("FORCE_COLOR=0", False),
        ("FORCE_COLOR=", False),
        ("FORCE_COLOR=1 TERM=dumb", True),
        ("FORCE_COLOR=1 NO_COLOR=1", False),
        ("FORCE_COLOR=1 --color=never", False),
        ("NO_COLOR=1 --color=always", True),
    ],
)
def test_colours_through_a_pipe(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch, said: str, *, colored: bool
) -> None:
    options = [word for word in said.split() if word.startswith("--")]
    for word in set(said.split()).difference(options):
        monkeypatch.setenv(*word.split("=", 1))
    assert (RED in run("inspect", folder, *options).out) is colored


def test_a_forced_colour_does_not_spoil_a_patch(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    ran = run("rewrite", folder)
    assert "\x1b" not in ran.out
    assert "\x1b[" in ran.err
    assert "\x1b[" in run("rewrite", folder, "--color", "always").out


def test_what_is_ignored_is_not_red(run: Run, folder: Folder) -> None:
    ran = run("check", folder, "--ignore", "MTP2", "--color", "always")
    assert ran.code == 0
    assert RED not in ran.out
    assert "which is not counted as a failure here" in ran.out
    assert RED in run("check", folder, "--color", "always").out


def test_the_sample_fits_80_columns() -> None:
    """As README's picture has it: a table, and no line that a terminal would break."""
    sample = Path(__file__).parents[3] / "examples" / "deepseek-v4-like"
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "mtpfix", "inspect", str(sample)],
        env={**os.environ, "COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ) as running:
        os.close(theirs)
        text = b"".join(iter(lambda: _read(ours), b"")).decode()
        assert running.wait() == 0
    os.close(ours)
    lines = [line.rstrip() for line in screen_of(text)]
    heads = [line for line in lines if line.startswith("  draft module ")]
    assert [head.split() for head in heads] == [
        ["draft", "module", "on", "disk", "on", "disk", "vLLM", "builds", "SGLang", "builds"]
    ]
    assert [line for line in lines if len(line) > 80 and str(sample) not in line] == []


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""
