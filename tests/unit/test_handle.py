"""A checkpoint that is opened once: each call says what the function of its name says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

import mtpfix
from mtpfix.cli.options import ReportFormat
from mtpfix.model import ReportFormat as Format
from mtpfix.report import json as as_json
from tests.hub.conftest import _hub, _repo  # noqa: F401 - fixtures
from tests.hub.server import Hub, Repo
from tools.forge import forge

CHOSEN: dict[str, Any] = {"vllm": ["0.32.0"], "platforms": ["cuda"]}


@pytest.fixture(name="saved")
def _saved(tmp_path: Path) -> Path:
    return forge("mimo", tmp_path / "saved", "ct-fp8-channel").folder


def test_it_says_what_the_functions_say(saved: Path) -> None:
    # A generator, since a selection is given to each call anew.
    opened = mtpfix.open(saved, vllm=(each for each in ["0.32.0"]), platforms=["cuda"])
    for _ in range(2):
        assert opened.inspect(trunk=True) == mtpfix.inspect(saved, **CHOSEN, trunk=True)
        assert opened.check() == mtpfix.check(saved, **CHOSEN)
    assert opened.plan().diff == mtpfix.plan(saved, **CHOSEN).diff != ""
    assert opened.override().value == mtpfix.override(saved, **CHOSEN).value
    assert opened.names() == mtpfix.names_of(saved, **CHOSEN)


def test_nothing_is_written_without_being_asked_for(saved: Path, tmp_path: Path) -> None:
    opened, before = mtpfix.open(saved, **CHOSEN), (saved / "config.json").read_bytes()
    with pytest.raises(mtpfix.UsageError, match="edits the folder"):
        opened.rewrite(write=True, output=tmp_path / "new")
    assert opened.rewrite().diff
    assert mtpfix.rewrite(saved, **CHOSEN).diff
    assert (saved / "config.json").read_bytes() == before
    with pytest.raises(mtpfix.GateError):
        opened.gate()
    opened.rewrite(output=tmp_path / "new")
    assert mtpfix.open(tmp_path / "new", **CHOSEN).gate().ok
    opened.rewrite(write=True)
    assert opened.gate().ok  # what a call wrote, the next one reads


def test_what_makes_no_sense_is_told_at_once(saved: Path) -> None:
    with pytest.raises(mtpfix.UsageError):
        mtpfix.open(saved, vllm=["no release"])
    with pytest.raises(mtpfix.TargetError):
        mtpfix.open(saved / "nowhere")


def test_a_repo_is_read_at_one_commit_and_once(hub: Hub, repo: Repo) -> None:
    opened = mtpfix.open("org/v4", **CHOSEN)
    first = opened.check()
    asked = len(hub.requests)
    assert opened.check() == first
    assert opened.plan().before.target == first.target
    assert len(hub.requests) == asked
    with pytest.raises(mtpfix.UsageError, match="not a folder"):
        opened.rewrite(write=True)


# --- what a report can do --------------------------------------------------------


@pytest.mark.parametrize("form", get_args(Format))
def test_a_report_is_rendered_in_each_format(saved: Path, form: Format) -> None:
    report = mtpfix.check(saved, **CHOSEN)
    assert "MTP201" in report.render(form) or form == "junit"
    assert report.render(form) == report.render(form)


def test_a_report_is_a_dictionary(saved: Path) -> None:
    report = mtpfix.check(saved, **CHOSEN)
    assert report.ok is False
    assert report.to_dict() == as_json.view(report)
    assert json.loads(report.render("json")) == json.loads(json.dumps(report.to_dict()))


def test_formats_are_those_of_the_command_line(saved: Path) -> None:
    assert [each.value for each in ReportFormat] == list(get_args(Format))
    with pytest.raises(mtpfix.UsageError, match="no format"):
        mtpfix.check(saved, **CHOSEN).render("docx")  # type: ignore[arg-type]
