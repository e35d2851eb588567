"""The JSON report: contract `mtpfix.report/1`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtpfix.model import (
    Acceptance,
    Accepted,
    Decision,
    Edit,
    EngineReport,
    Entry,
    Finding,
    Fix,
    ModelInfo,
    Module,
    ModuleReport,
    Precision,
    Report,
    Target,
    Where,
)
from mtpfix.report import json as report_json

from . import examples
from .schemas import closed

VALIDATOR = jsonschema.Draft202012Validator(closed(report_json.schema()))

foreign = st.text(st.characters(codec=None), max_size=12)
pointers = st.just("") | foreign.map(lambda text: f"/{text}")
entries = st.builds(Entry, foreign, foreign, pointers, st.none() | foreign)
modules = st.builds(Module, name=foreign, members=st.just(()), layer=st.none())
decisions = st.builds(Decision, modules, scheme=st.none() | foreign, because=st.none() | entries)
judgements = st.builds(
    ModuleReport,
    decisions,
    st.builds(Precision, format=st.none() | foreign),
    st.lists(foreign, max_size=2).map(tuple),
    st.sampled_from([True, False, None]),
    detail=st.none() | foreign,
    limit=st.none(),
)
values = st.none() | foreign | st.lists(foreign, max_size=2)
fixes = st.builds(
    Fix, title=foreign, edits=st.lists(st.builds(Edit, foreign, pointers, value=values)).map(tuple)
)
findings = st.builds(
    Finding,
    code=st.sampled_from(["MTP001", "MTP101", "MTP201", "MTP901"]),
    message=foreign,
    modules=st.lists(foreign, max_size=2).map(tuple),
    where=st.none() | st.builds(Where, foreign, pointers, st.none() | st.integers(1, 9999)),
    repair=st.none() | fixes,
    releases=st.sampled_from([(), ("0.32.0",), ("0.32.0 (cuda)",)]),
)
acceptances = st.builds(
    Acceptance, reason=foreign, file=foreign, until=st.none() | st.just("2027-01-31")
)
infos = st.builds(
    ModelInfo,
    architectures=st.lists(foreign, max_size=1).map(tuple),
    num_hidden_layers=st.none() | st.integers(0),
    mtp_layers=st.none() | st.integers(0),
)
engines = st.builds(
    EngineReport, version=foreign, modules=st.lists(judgements, max_size=3).map(tuple)
)
reports = st.builds(
    Report,
    target=st.builds(Target, name=foreign, revision=st.none() | foreign),
    model=infos,
    method=st.none() | foreign,
    quant_files=st.lists(foreign, max_size=1).map(tuple),
    engines=st.lists(engines, max_size=2).map(tuple),
    findings=st.lists(findings, max_size=2).map(tuple),
    exit_code=st.integers(0, 4),
    accepted=st.lists(st.builds(Accepted, findings, acceptances), max_size=1).map(tuple),
    notes=st.lists(foreign, max_size=1).map(tuple),
)


def rendered(report: Report) -> Any:
    return json.loads(report_json.render(report))


def test_the_schema_is_a_schema() -> None:
    VALIDATOR.check_schema(report_json.schema())


def test_every_object_of_the_schema_is_open_and_described() -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("type") == "object":
                assert "additionalProperties" not in node
                assert node["required"] == list(node["properties"])
                assert node["description"]
                for name, field in node["properties"].items():
                    assert {"description", "const", "$ref"} & set(field), name
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(report_json.schema())


@pytest.mark.parametrize("case", examples.CASES.values(), ids=examples.CASES)
def test_examples_validate(case: Any) -> None:
    VALIDATOR.validate(rendered(case()))


@given(reports)
def test_any_report_validates_and_is_inert(report: Report) -> None:
    text = report_json.render(report)
    VALIDATOR.validate(json.loads(text))
    assert text.replace("\n", "").isprintable()
    assert json.loads(text) == report_json.view(report)


def test_layout() -> None:
    text = report_json.render(examples.silent_garbage())
    assert text.startswith('{\n  "schema": "mtpfix.report/1",\n  "tool": {\n    "name": "mtpfix",')
    assert text.endswith('  "exit_code": 1\n}\n')
    assert text == report_json.render(examples.silent_garbage())


def test_a_module() -> None:
    (engine,) = rendered(examples.silent_garbage())["engines"]
    assert engine["modules"][2] == {
        "part": "draft",
        "name": "model.layers.43.attn.fused_wqa_wkv",
        "kind": "linear",
        "members": ["mtp.0.attn.wq_a", "mtp.0.attn.wkv"],
        "on_disk": "unquantized",
        "on_disk_format": "bf16",
        "built": "quantized",
        "built_scheme": "CompressedTensorsW8A8Fp8",
        "because": {
            "file": "config.json",
            "pointer": "/quantization_config/config_groups/group_0/targets/0",
            "entry": "Linear",
        },
        "agrees": False,
        "consequence": "silent_garbage",
        "detail": None,
    }


def test_a_finding() -> None:
    finding = rendered(examples.silent_garbage())["findings"][0]
    assert list(finding) == [
        "code", "severity", "confidence", "message", "modules", "entries", "releases",
        "where", "fix",
    ]  # fmt: skip
    assert finding["where"]["line"] == 812
    assert finding["fix"] == {
        "title": "exclude the MTP block with one entry of the ignore list",
        "applicability": "safe",
        "edits": [
            {
                "file": "config.json",
                "pointer": "/quantization_config/ignore/-",
                "op": "add",
                "value": r"re:model\.layers\.43\..*",
            }
        ],
    }


def test_an_entry_is_spelled_as_in_the_file() -> None:
    mapped = Entry("model.layers.43", "config.json", "/ignore/0", written="mtp.0")
    report = examples.report(examples.engine(examples.draft(quantized=False, because=mapped)))
    assert rendered(report)["engines"][0]["modules"][0]["because"]["entry"] == "mtp.0"


def test_modules_that_never_ask_are_left_out() -> None:
    asks, silent = (examples.judged(examples.module(n, asks=n == "a")) for n in ("a", "b"))
    report = examples.report(examples.engine((asks, silent)))
    assert [m["name"] for m in rendered(report)["engines"][0]["modules"]] == ["a"]


def test_hostile_names_keep_their_value() -> None:
    name = "\x9b2J\u202e\x7f[bold]\ud800\U000e0041é"
    report = examples.report()
    report = replace(report, target=Target("local", name))
    text = report_json.render(report)
    assert r"\u009b2J\u202e\u007f[bold]\ud800\udb40\udc41é" in text
    assert json.loads(text)["target"]["name"] == name
