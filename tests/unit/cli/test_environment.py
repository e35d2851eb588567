"""What the environment can set, and what it cannot: nothing that acts."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from mtpfix.cli.app import app

from .conftest import Folder, Run

ACTING = {
    "--write",
    "--output",
    "--no-backup",
    "--push-to-hub",
    "--create-pr",
    "--repair-trunk",
    "--rename-tensors",
    "--rename-in-place",
    "--allow-partial",
    "--drop",
    "--write-baseline",
}


def options() -> list[tuple[str, Any]]:
    """Every option of every command, with the name of the command."""
    group: Any = typer.main.get_command(app)
    return [
        (name, parameter)
        for name, command in group.commands.items()
        for parameter in command.params
        if parameter.param_type_name == "option"
    ]


def test_what_acts_has_no_variable() -> None:
    found = [option for _, option in options() if ACTING & set(option.opts)]
    assert {flag for option in found for flag in option.opts} == ACTING
    assert [option.opts for option in found if option.envvar] == []


def test_every_other_option_has_one() -> None:
    """So that an option which is new is either listed above or can be set."""
    bare = {flag for _, option in options() if not option.envvar for flag in option.opts}
    assert bare - ACTING == {"--dialects", "--help", "--json"} & bare


def test_no_variable_is_read_unasked() -> None:
    """A prefix for all options would bring the variables back."""
    group: Any = typer.main.get_command(app)
    context = typer.Context(group, info_name="mtpfix", **group.context_settings)
    assert context.auto_envvar_prefix is None


def test_variables_of_that_name_do_nothing(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = folder.path.parent / "copy"
    for flag in ACTING:
        monkeypatch.setenv(f"MTPFIX_{flag[2:].upper().replace('-', '_')}", "1")
    monkeypatch.setenv("MTPFIX_OUTPUT", str(copy))
    before = folder.bytes()
    ran = run("rewrite", folder)
    assert (ran.code, folder.bytes(), copy.exists()) == (1, before, False)
    assert "Nothing was written" in ran.err
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("value", "releases"),
    [
        ("vllm", ["0.34.0"]),
        ("vllm >=0.30, <0.32", ["0.30.0", "0.31.0"]),
        ("vllm==0.28 vllm>=0.32,<0.33", ["0.28.0", "0.32.0"]),
    ],
)
def test_a_variable_may_hold_several_requirements(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch, value: str, releases: list[str]
) -> None:
    monkeypatch.setenv("MTPFIX_ENGINE", value)
    judged = run("check", folder, "--format", "json").json["engines"]
    assert [engine["version"] for engine in judged] == releases
