"""What a person sees at a terminal: colours, and lines of progress that are taken back."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtpfix import auditing
from mtpfix.cli import main, output
from mtpfix.errors import TargetError

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


@pytest.mark.parametrize("error", [KeyboardInterrupt, KeyError, TargetError])
def test_no_line_of_progress_is_left_standing(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """Not above a traceback, and not above what Ctrl-C leaves."""

    def judge(*_: object, **__: object) -> Iterator[auditing.Audited]:
        yield auditing.Audited("a", None)
        raise error("so")

    monkeypatch.setattr(auditing, "audit", judge)
    shown = terminal(monkeypatch)
    main(["check", str(folder), f"{folder}/."])
    assert "judged 1 of 2" in shown.getvalue()
    assert not any("judged" in line for line in screen_of(shown.getvalue()))


@pytest.mark.parametrize(
    ("said", "colored"),
    [
        ("--color=auto", False),
        ("FORCE_COLOR=1", True),
        ("FORCE_COLOR=0", False),
        ("FORCE_COLOR=", False),
        ("FORCE_COLOR=1 TERM=dumb", True),
        ("FORCE_COLOR=1 NO_COLOR=1", False),
        ("CLICOLOR_FORCE=1", True),
        ("CLICOLOR_FORCE=0", False),
        ("FORCE_COLOR=0 CLICOLOR_FORCE=1", True),
        ("CLICOLOR_FORCE=1 NO_COLOR=1", False),
        ("CLICOLOR_FORCE=1 --color=never", False),
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


# --- short flags -------------------------------------------------------------


@pytest.mark.parametrize("command", ["inspect", "check", "rewrite", "override", "names"])
def test_json_in_short(run: Run, folder: Folder, command: str) -> None:
    short = run(command, folder, "--json")
    assert short == run(command, folder, "--format", "json")
    json.loads(short.out)


@pytest.mark.parametrize("command", ["explain", "families"])
def test_json_in_short_without_a_target(run: Run, command: str) -> None:
    assert run(command, "--json").out == run(command, "--format", "json").out


def test_json_in_short_goes_before_the_environment_and_the_file(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MTPFIX_FORMAT", "sarif")
    assert json.loads(run("check", folder, "--json").out)["schema"] == "mtpfix.report/1"
    monkeypatch.delenv("MTPFIX_FORMAT")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mtpfix.toml").write_text('format = "junit"\n', encoding="utf-8")
    assert json.loads(run("check", folder, "--json").out)["schema"] == "mtpfix.report/1"


def test_two_formats_exclude_each_other(run: Run, folder: Folder) -> None:
    ran = run("check", folder, "--json", "--format", "sarif")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "error: --json and --format sarif exclude each other\nhint: leave one out\n"
    assert run("check", folder, "--json", "--format", "json").code == 1


def test_quiet_leaves_notes_out_and_no_error(run: Run, folder: Folder) -> None:
    loud, quiet = run("rewrite", folder), run("rewrite", folder, "-q")
    assert loud.out == quiet.out
    assert loud.err
    assert quiet.err == ""
    assert run("inspect", "nowhere-at-all", "--quiet").err.startswith("error: ")
    assert run("rewrite", folder).err == loud.err


def test_quiet_shows_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    output.hush(wanted=True)
    output.progress("judged 1 of 3")
    output.note("a note")
    output.hush(wanted=False)
    assert shown.getvalue() == ""


def test_a_settings_file_is_announced_even_where_all_is_quiet(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It may have come with a download, and make the gate milder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mtpfix.toml").write_text('fail-on = "never"\n', encoding="utf-8")
    run("rewrite", folder, "-q")
    assert run("check", folder, "-q").err == "defaults from mtpfix.toml: fail-on\n"


def test_the_version_and_the_file_in_short(run: Run, folder: Folder, tmp_path: Path) -> None:
    assert run("-V") == run("--version")
    ran = run("check", folder, "--json", "-o", tmp_path / "out.json")
    assert (ran.code, ran.out) == (1, "")
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["exit_code"] == 1


def test_targets_from_stdin(run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    given = io.TextIOWrapper(io.BytesIO(f"# one\n{folder}\n\n".encode()))
    monkeypatch.setattr(sys, "stdin", given)
    ran = run("check", "--from-file", "-")
    assert ran.code == 1
    assert str(folder) in ran.out
    assert "1 target: 1 wrong" in ran.out


# --- what is told ------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "note", "left_out"),
    [
        (["--ignore", "MTP2"], "1 finding is left out by --ignore MTP2: MTP201", "MTP201"),
        (["--select", "MTP3"], "1 finding is left out by --select MTP3: MTP201", "MTP201"),
        (["--select", "MTP2", "--ignore", "MTP201,MTP4"], "by --ignore MTP201: MTP201", "MTP201"),
    ],
)
def test_a_mark_says_what_was_left_out(
    run: Run, folder: Folder, options: list[str], note: str, left_out: str
) -> None:
    ran = run("check", folder, *options)
    assert f"{note}\n" in ran.out
    assert f"not counted as a failure here (left out: {left_out})\n" in ran.out
    assert f"left out: {left_out}\n" in run("check", folder, folder.path / ".", *options).out


def test_a_patch_release_that_is_not_known_is_told(run: Run, folder: Folder) -> None:
    said = "mtpfix knows no vLLM 0.32.9, and judges it as 0.32.0"
    for command in ("inspect", "check"):
        ran = run(command, folder, "--vllm", "v0.32.9")
        assert f"note  {said}\n" in ran.out
        assert said in json.loads(run(command, folder, "--vllm", "0.32.9", "--json").out)["notes"]
    for command in ("rewrite", "override", "names"):
        assert said in run(command, folder, "--vllm", "0.32.9").err
        assert said not in run(command, folder, "--vllm", "0.32.0").err
