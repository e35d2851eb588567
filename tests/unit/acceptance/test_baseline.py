"""Baselines: what is known, what is new, what is gone, and the document."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

import pytest

from mtpfix.acceptance import baseline, identity
from mtpfix.acceptance.baseline import Baseline
from mtpfix.errors import UsageError
from mtpfix.model import EngineReport, Finding, ModelInfo, Report, Target, Where

VLLM = EngineReport("vllm", "0.33.0", "cuda", "load_error", ())
SGLANG = EngineReport("sglang", "0.5.23", "cuda", "load_error", ())


def finding(*modules: str, **changes: object) -> Finding:
    made = Finding("MTP201", "error", "run", "words", modules, releases=("0.33.0",))
    return replace(made, **changes)  # type: ignore[arg-type]


def report(*findings: Finding, name: str = "org/a", **changes: object) -> Report:
    target = Target("hub", name, "abc")
    made = Report(target, ModelInfo(None, None, ()), None, (), (VLLM,), findings, 1)
    return replace(made, **changes)  # type: ignore[arg-type]


def of(*reports: Report, former: Baseline | None = None) -> Baseline:
    """A baseline, once written and read."""
    made = baseline.made("b.json", reports, former)
    again = baseline.parse(baseline.render(made), "b.json")
    assert again == made
    return again


def new(known: Baseline, one: Report) -> tuple[Finding, ...]:
    return known.split(one.findings, one)[0]


def test_neither_text_nor_line_nor_release_nor_grouping_makes_a_finding_new() -> None:
    known = of(report(finding("a", "b"), finding("c")))
    moved = finding("b", message="other", where=Where("config.json", "/x/7", 9), releases=("0.34",))
    assert new(known, report(moved, finding("a", "c"))) == ()
    grown = finding("a", "d")
    assert new(known, report(grown)) == (grown,)


@pytest.mark.parametrize(
    "other",
    [
        report(finding("a"), name="org/b"),
        report(finding("a", code="MTP202")),
        report(finding("a"), engines=(SGLANG,)),
        report(finding("a", releases=("SGLang 0.5.23",)), engines=(VLLM, SGLANG)),
        report(finding("a", releases=("vLLM 0.33.0", "SGLang 0.5.23")), engines=(VLLM, SGLANG)),
        report(finding(entries=("a",))),
        report(finding()),
    ],
)
def test_code_repo_engine_and_kind_tell_findings_apart(other: Report) -> None:
    assert new(of(report(finding("a"))), other) == other.findings


def test_a_finding_of_the_whole_target_is_known_by_its_file() -> None:
    known = of(report(finding(where=Where("config.json", "/x"), releases=())))
    assert new(known, report(finding(where=Where("config.json", "/y"), releases=()))) == ()
    other = report(finding(where=Where("hf_quant_config.json", "/x"), releases=()))
    assert new(known, other) == other.findings


def test_what_could_not_be_judged_and_what_never_counts_is_in_no_baseline() -> None:
    unjudged = finding(code="MTP902")
    given = report(unjudged, finding("a", severity="info"), finding("b", decides=False))
    assert of(given).rows == {}
    row = {"code": "MTP902", "repo": "org/a", "engine": "vllm", "files": []}
    text = json.dumps({"schema": baseline.SCHEMA, "findings": [row]})
    assert new(baseline.parse(text, "b.json"), report(unjudged)) == (unjudged,)


def test_what_is_gone_is_told() -> None:
    known = of(report(*map(finding, "abcde"), finding(code="MTP101", entries=("x",))))
    assert (
        known.gone(report(*map(finding, "abcde"), finding(code="MTP101", entries=("x",)))) is None
    )
    assert known.gone(report(finding("e"))) == (
        "b.json names what is not found any more: MTP101 `x`; MTP201 `a`, `b`, `c` and 1 more"
    )
    assert known.gone(report(name="org/b")) is None
    assert known.gone(report(engines=(SGLANG,))) is None
    unknown = report(finding(code="MTP901", releases=()), engines=())
    assert known.gone(unknown) is None


def test_targets_that_were_not_read_stay() -> None:
    former = of(report(finding("a")), report(finding("b"), name="org/b"))
    again = of(report(finding("c")), former=former)
    assert {(key.repo, *names) for key, names in again.rows.items()} == {
        ("org/a", "c"),
        ("org/b", "b"),
    }


def test_the_document_is_the_same_in_any_order() -> None:
    def made(reports: Iterable[Report]) -> str:
        return baseline.render(of(*reports))

    both = [report(finding("b", "a"), finding("c", code="MTP101")), report(finding(), name="org/b")]
    turned = [replace(one, findings=one.findings[::-1]) for one in reversed(both)]
    assert made(both) == made(turned)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[" * 100_000,
        "[]",
        "{}",
        '{"schema": "mtpfix.report/1", "findings": []}',
        '{"schema": "mtpfix.baseline/1"}',
        '{"schema": "mtpfix.baseline/1", "findings": [3]}',
        '{"schema": "mtpfix.baseline/1", "findings": [{"code": "MTP201", "repo": "a"}]}',
        '{"schema": "mtpfix.baseline/1", "findings": [{"code": "MTP201", "modules": []}]}',
        '{"schema": "mtpfix.baseline/1", "findings": [{"code": 1, "repo": "a", "files": []}]}',
        '{"schema": "mtpfix.baseline/1", '
        '"findings": [{"code": "a", "repo": "a", "engine": 3, "files": []}]}',
        '{"schema": "mtpfix.baseline/1", "findings": [{"code": "a", "repo": "a", "files": [3]}]}',
    ],
)
def test_what_is_no_baseline_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"^b\.json: ") as caught:
        baseline.parse(text, "b.json")
    assert "--write-baseline" in caught.value.remedy


def test_fields_to_come_are_let_pass() -> None:
    text = (
        '{"schema": "mtpfix.baseline/1", "new": 1, "findings": '
        '[{"code": "MTP201", "repo": "org/a", "engine": "vllm", "modules": ["a"], "new": 2}]}'
    )
    assert new(baseline.parse(text, "b.json"), report(finding("a"))) == ()


def test_a_folder_has_one_name() -> None:
    names = {identity.repo(Target("local", name)) for name in ("a/b", "./a/b", "a//b/", "a/./b")}
    assert names == {"a/b"}
