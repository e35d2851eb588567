"""Bad input: one clear line, a remedy, the exit code, and files left as they were."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable

import pytest

from mtpfix import calls
from mtpfix.cli import main
from mtpfix.errors import ConflictError

from .conftest import Folder, Run

Spoil = Callable[[Folder], object]


def no_config(folder: Folder) -> None:
    (folder.path / "config.json").unlink()


def no_weights(folder: Folder) -> None:
    (folder.path / "model.safetensors").unlink()


def truncated(folder: Folder) -> None:
    os.truncate(folder.path / "model.safetensors", 100)


def lying(folder: Folder) -> None:
    path = folder.path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 60) + path.read_bytes()[8:])


def missing_shard(folder: Folder) -> None:
    index = {"weight_map": {"model.mtp_layers.0.input_proj.weight": "model-9.safetensors"}}
    (folder.path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def invalid_json(folder: Folder) -> None:
    (folder.path / "config.json").write_text('{"a": }', encoding="utf-8")


def no_object(folder: Folder) -> None:
    (folder.path / "config.json").write_text("[]", encoding="utf-8")


def a_folder(folder: Folder) -> None:
    no_config(folder)
    (folder.path / "config.json").mkdir()


def dangling(folder: Folder) -> None:
    no_config(folder)
    (folder.path / "config.json").symlink_to("nowhere")


UNREADABLE = (
    no_config,
    no_weights,
    truncated,
    lying,
    missing_shard,
    invalid_json,
    no_object,
    a_folder,
    dangling,
)


@pytest.mark.parametrize("command", ["inspect", "check", "rewrite", "override"])
@pytest.mark.parametrize("spoil", UNREADABLE)
def test_what_cannot_be_read_exits_2(run: Run, folder: Folder, spoil: Spoil, command: str) -> None:
    spoil(folder)
    before = folder.bytes()
    ran = run(command, folder, *(["--write"] if command == "rewrite" else []))
    assert (ran.code, ran.out) == (2, "")
    error, hint = ran.err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert folder.bytes() == before


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: f.save(architectures=["UnheardOf"]), "UnheardOf"),
        (lambda f: f.save(quantization_config={"quant_method": "w4afp8"}), "'w4afp8'"),
    ],
    ids=["architecture", "method"],
)
@pytest.mark.parametrize("command", ["inspect", "check", "rewrite", "override"])
def test_what_is_not_known_exits_3(
    run: Run, folder: Folder, spoil: Spoil, said: str, command: str
) -> None:
    spoil(folder)
    ran = run(command, folder)
    assert ran.code == 3
    assert said in ran.out + ran.err


@pytest.mark.parametrize("command", ["inspect", "check", "rewrite", "names"])
def test_a_specifier_of_newer_releases_is_the_first_of_them(
    run: Run, folder: Folder, command: str
) -> None:
    by_specifier, by_name = (run(command, folder, "--vllm", r) for r in (">9", "9.1.0"))
    assert by_specifier.code == by_name.code != 0
    assert by_specifier.out == by_name.out


@pytest.mark.parametrize("release", ["0.11", "0.11.0"])
@pytest.mark.parametrize("command", ["inspect", "check", "rewrite", "names"])
def test_a_release_that_is_not_covered_exits_3(
    run: Run, folder: Folder, release: str, command: str
) -> None:
    ran = run(command, folder, "--vllm", release)
    assert ran.code == 3
    assert "covered" in ran.out + ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--vllm", "newer"],
        ["check", "--platform", "toaster"],
        ["check", "--format", "pdf"],
        ["check", "--no-such-option"],
        ["no-such-command"],
        ["verify", "--timeout", "0"],
    ],
)
def test_usage_errors_exit_2(run: Run, folder: Folder, arguments: list[str]) -> None:
    command, *options = arguments
    ran = run(command, *([folder] if options else []), *options)
    assert (ran.code, ran.out) == (2, "")
    assert "rror: " in ran.err
    assert "Traceback" not in ran.err


def test_the_default_target_is_this_folder(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.path)
    assert run("check").code == 1


# --- the last resort ---------------------------------------------------------


def raising(error: BaseException) -> Callable[..., object]:
    def call(*_: object, **__: object) -> object:
        raise error

    return call


def test_a_bug_is_one_line(run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "inspect", raising(KeyError("\x1b[31m")))
    ran = run("inspect", folder)
    assert ran.code == 5
    assert ran.err.startswith("internal error: KeyError (please report")
    assert len(ran.err.splitlines()) == 1
    monkeypatch.setenv("MTPFIX_DEBUG", "1")
    assert "Traceback" in run("inspect", folder).err


def test_an_interrupt_exits_130(run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "inspect", raising(KeyboardInterrupt()))
    ran = run("inspect", folder)
    assert ran.code == 130
    assert "Traceback" not in ran.err


def test_a_conflict_exits_4_and_is_inert(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "inspect", raising(ConflictError("a\x1b[31m\nb", "run\nagain")))
    ran = run("inspect", folder)
    assert ran.code == 4
    assert ran.err == "error: a\\x1b[31m\\nb\nhint: run\\nagain\n"


def test_an_output_file_that_cannot_be_written(run: Run, folder: Folder) -> None:
    ran = run("check", folder, "--output-file", folder.path / "no" / "file")
    assert (ran.code, ran.out) == (2, "")
    assert "cannot be written" in ran.err


# --- the program itself ------------------------------------------------------


def test_version_and_help(run: Run) -> None:
    assert run("--version").out.startswith("mtpfix ")
    ran = run("--help")
    assert ran.code == 0
    for command in ("inspect", "check", "rewrite", "override", "names", "verify", "explain"):
        assert f"  {command} " in ran.out
        shown = run(command, "--help")
        assert shown.code == 0
        assert "Example: mtpfix" in shown.out


def test_python_m_and_a_reader_that_goes_away(folder: Folder) -> None:
    command = [sys.executable, "-m", "mtpfix", "check", str(folder)]
    read, write = os.pipe()
    os.close(read)
    gone = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (gone.returncode, gone.stderr) == (1, b"")


def test_the_entry_point_reads_the_process_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mtpfix", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("mtpfix ")


def test_signs_that_a_stream_cannot_carry_are_replaced(folder: Folder) -> None:
    command = [sys.executable, "-m", "mtpfix", "inspect", str(folder)]
    env = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    shown = subprocess.run(command, env=env, capture_output=True, check=True).stdout
    assert shown.isascii()
    assert b"x vLLM 0.34.0 on cuda" in shown
