"""JUnit XML."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from mtpfix.model import Report
from mtpfix.report import junit

from . import examples, hostile


def cases(report: Report) -> dict[str, ET.Element]:
    """The test cases by name."""
    root = ET.fromstring(junit.render(report))
    return {case.get("name", ""): case for case in root.iter("testcase")}


def kinds(report: Report) -> dict[str, str]:
    """What became of each case."""
    made = cases(report)
    return {
        name: next((e.tag for e in case if e.tag != "system-out"), "ok")
        for name, case in made.items()
    }


def test_each_release_is_a_case() -> None:
    found = kinds(examples.many_releases())
    assert next(iter(found)) == "metadata"
    assert found["vLLM 0.20.2 on cuda"] == "failure"
    assert found["vLLM 0.25.1 on cuda"] == "failure"
    assert found["vLLM 0.33.0 on cuda"] == "ok"


def test_counts_add_up() -> None:
    root = ET.fromstring(junit.render(examples.many_releases(), examples.unknown_family()))
    assert root.attrib == {
        "name": "mtpfix", "tests": "16", "failures": "10", "errors": "1", "skipped": "0",
    }  # fmt: skip
    assert [suite.get("tests") for suite in root] == ["15", "1"]


def test_a_failure_says_all_that_is_wrong() -> None:
    case = cases(examples.silent_garbage())["vLLM 0.32.0 on cuda"]
    failure = case.find("failure")
    assert failure is not None
    assert failure.get("type") == "MTP201"
    assert "config.json:812: 10 MTP modules" in (failure.text or "")
    assert "fix: exclude the MTP block" in (failure.text or "")
    assert "MTP101 warning" in (case.findtext("system-out") or "")


def test_a_load_error_that_no_finding_explains_fails() -> None:
    report = replace(examples.load_error(), findings=())
    case = cases(report)["vLLM 0.32.0 on cuda"]
    failure = case.find("failure")
    assert failure is not None
    assert "KeyError" in failure.get("message", "")


def test_the_gate_decides_what_fails() -> None:
    report = examples.silent_garbage()
    assert set(kinds(replace(report, exit_code=0)).values()) == {"ok"}
    warned = replace(report, findings=(examples.mtp101(),))
    assert kinds(warned)["vLLM 0.32.0 on cuda"] == "failure"


def test_a_case_whose_error_does_not_count_is_skipped_for_the_reason() -> None:
    report = examples.accepted()
    case = cases(report)["vLLM 0.32.0 on cuda"]
    skipped = case.find("skipped")
    assert skipped is not None
    assert skipped.get("message") == (
        "MTP201 ignored: waiting for vLLM 0.34 (mtpfix.toml, until 2027-01-31); "
        "MTP101 known: it was there before (baseline.json)"
    )
    assert "config.json:812: 10 MTP modules" in (case.findtext("system-out") or "")
    mild = cases(replace(report, accepted=report.accepted[1:], exit_code=1))
    assert mild["vLLM 0.32.0 on cuda"].find("skipped") is None
    assert "MTP101 known: " in (mild["vLLM 0.32.0 on cuda"].findtext("system-out") or "")


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        (examples.unknown_family, {"metadata": "error"}),
        (examples.unquantized, {"metadata": "skipped"}),
        (examples.unknown, {"metadata": "ok", "vLLM 0.32.0 on cuda": "error"}),
        (examples.no_mtp, {"metadata": "ok", "vLLM 0.32.0 on cuda": "skipped"}),
    ],
)
def test_what_is_not_judged(case: object, kind: dict[str, str]) -> None:
    assert kinds(case()) == kind  # type: ignore[operator]


@pytest.mark.parametrize("word", hostile.WORDS)
def test_foreign_words_stay_words(word: str) -> None:
    text = junit.render(hostile.report(word))
    assert text.replace("\n", "").isprintable()
    tags = {element.tag for element in ET.fromstring(text).iter()}
    assert tags == {"testsuites", "testsuite", "testcase", "failure", "system-out"}
