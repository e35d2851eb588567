"""Annotations for GitHub Actions."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mtpfix.model import Target
from mtpfix.report import github

from . import examples, hostile

_COMMAND = re.compile(r"::(?P<level>error|warning|notice) (?P<properties>.*?)::(?P<data>.*)")


def parsed(line: str) -> tuple[str, dict[str, str], str]:
    """Level, properties and message of a line, read as the runner reads it."""
    found = _COMMAND.fullmatch(line)
    assert found is not None, line
    pairs = (pair.split("=", 1) for pair in found["properties"].split(","))
    return found["level"], {key: unescaped(v) for key, v in pairs}, unescaped(found["data"])


def unescaped(text: str) -> str:
    for code, char in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, char)
    return text


def lines(word: str = "", **changes: object) -> list[str]:
    report = examples.silent_garbage()
    return github.render(replace(report, **changes)).splitlines()  # type: ignore[arg-type]


def test_a_finding_stands_at_its_line_in_the_file() -> None:
    first, second, verdict = lines(target=Target("local", "./models/v4"))
    level, properties, message = parsed(first)
    assert level == "error"
    assert properties == {
        "file": "models/v4/config.json",
        "line": "812",
        "title": "MTP201: Unquantized on disk, built quantized",
    }
    assert message.startswith("10 MTP modules are unquantized on disk")
    assert message.splitlines()[-1].startswith("fix: exclude the MTP block")
    assert parsed(second)[0] == "warning"
    assert verdict.startswith("✗ ./models/v4: the draft loads as silent garbage")


def test_a_finding_without_a_place_stands_at_the_metadata() -> None:
    finding = replace(examples.mtp201(), where=None)
    first, *_ = lines(target=Target("local", "."), findings=(finding,))
    assert parsed(first)[1]["file"] == "config.json"
    assert parsed(first)[1]["line"] == "1"


def test_a_repository_has_no_file_in_the_workspace() -> None:
    first, *_ = lines()
    _, properties, message = parsed(first)
    assert "file" not in properties
    assert message.startswith("acme/DeepSeek-V4-FP8-dynamic: config.json:812: 10 MTP")


def test_releases_are_named_where_several_are_judged() -> None:
    first, *_ = github.render(examples.many_releases()).splitlines()
    assert "vLLM 0.20-0.23" in parsed(first)[2].splitlines()


def test_notes_are_notices() -> None:
    first, verdict = github.render(examples.no_mtp()).splitlines()
    assert parsed(first)[0] == "notice"
    assert verdict.startswith("\N{EN DASH} ")


@pytest.mark.parametrize("word", hostile.WORDS)
def test_foreign_words_begin_no_command(word: str) -> None:
    report = hostile.report(word)
    error, warning, accepted, note, verdict = github.render(report).split("\n")[:-1]
    assert parsed(error)[0] == "error"
    assert parsed(warning)[0] == "warning"
    assert set(parsed(error)[1]) == {"file", "line", "title"}
    assert parsed(accepted)[0] == parsed(note)[0] == "notice"
    assert set(parsed(accepted)[1]) == {"file", "line", "title"}
    assert set(parsed(note)[1]) == {"title"}
    assert not verdict.lstrip().startswith("::")
    assert "##[" not in verdict
    assert github.render(report).replace("\n", "").isprintable()


def test_what_does_not_count_is_a_notice_with_the_reason() -> None:
    ignored, known, _ = github.render(examples.accepted()).split("\n")[:-1]
    level, properties, message = parsed(ignored)
    assert level == "notice"
    assert properties["title"] == "MTP201 ignored: Unquantized on disk, built quantized"
    assert message.startswith("ignored: waiting for vLLM 0.34 (mtpfix.toml, until 2027-01-31)\n")
    assert parsed(known)[2].startswith("known: it was there before (baseline.json)\n")


def test_several_reports_follow_each_other() -> None:
    both = github.render(examples.clean(), examples.no_mtp())
    assert both == github.render(examples.clean()) + github.render(examples.no_mtp())
