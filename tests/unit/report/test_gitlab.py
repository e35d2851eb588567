"""GitLab Code Quality: the fields that GitLab reads, as its documentation has them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from mtpfix.model import Report, Target
from mtpfix.report import gitlab

from . import examples, hostile

SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "pattern": "^MTP"},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "minLength": 1},
                    "lines": {
                        "type": "object",
                        "required": ["begin"],
                        "properties": {"begin": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        },
    },
}


def rows(*reports: Report) -> Any:
    found = json.loads(gitlab.render(*reports))
    jsonschema.validate(found, SCHEMA)
    return found


@pytest.mark.parametrize("name", examples.CASES)
def test_has_a_row_for_each_finding(name: str) -> None:
    report = examples.CASES[name]()
    found = rows(report)
    told = [*report.findings, *(each.finding for each in report.accepted)]
    assert [row["check_name"] for row in found] == [each.code for each in told]
    assert len({row["fingerprint"] for row in found}) == len(found)


def test_a_row_says_what_and_where() -> None:
    report = replace(examples.silent_garbage(), target=Target("local", "./models/v4"))
    error, warning = rows(report)
    assert (error["severity"], warning["severity"]) == ("critical", "minor")
    assert error["location"] == {"path": "models/v4/config.json", "lines": {"begin": 812}}
    assert "Fix: exclude the MTP block" in error["description"]
    (row,) = rows(examples.unknown_family())
    assert row["severity"] == "major"
    assert row["location"]["path"] == "acme/DeepSeek-V4-FP8-dynamic/config.json"


def test_what_does_not_count_is_information_with_the_reason() -> None:
    ignored, known = rows(examples.accepted())
    assert (ignored["severity"], known["severity"]) == ("info", "info")
    assert ignored["description"].startswith(
        "Ignored, waiting for vLLM 0.34 (mtpfix.toml, until 2027-01-31): 10 MTP modules"
    )
    assert known["description"].startswith("Known, it was there before (baseline.json): ")


def test_a_fingerprint_outlives_lines_and_tells_targets_apart() -> None:
    report = examples.silent_garbage()
    finding = report.findings[0]
    assert finding.where is not None
    moved = replace(finding, where=replace(finding.where, line=5), message="other words")
    other = replace(report, target=Target("hub", "acme/other"))
    prints = [
        rows(each)[0]["fingerprint"] for each in (report, replace(report, findings=(moved,)), other)
    ]
    assert prints[0] == prints[1] != prints[2]
    assert len({row["fingerprint"] for row in rows(report, other)}) == 4


@pytest.mark.parametrize("word", hostile.WORDS)
def test_foreign_words_stay_words(word: str) -> None:
    text = gitlab.render(hostile.report(word))
    assert text.replace("\n", "").isprintable()
    rows(hostile.report(word))
