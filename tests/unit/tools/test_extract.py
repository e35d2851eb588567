"""What a release says about drafts, how two releases differ, and where policies disagree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtpfix.engines.policies.files import parse
from mtpfix.engines.vllm.policy import KNOWLEDGE, Policy
from mtpfix.engines.vllm.records.family import Family
from tests.unit.tools.release import FILES, write
from tools import changes, drafting, extract, second

DRAFT = "model_executor/models/demo_mtp.py"
POLICY: dict[str, Any] = {
    "title": "Demo",
    "num_hidden_layers": "num_hidden_layers",
    "mtp_layers": "default(num_demo_layers, 0)",
    "disk_roots": ["mtp."],
    "trunk": [],
    "draft_class": [{"value": "DemoMTP"}],
    "packed": [
        {
            "when": "wide",
            "value": {
                "qkv_proj": ["q_proj", "k_proj", "v_proj"],
                "wide_proj": ["a_proj", "b_proj"],
            },
        },
        {"value": {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}},
    ],
    "mappers": [{"prefix": {"language.": "model."}}],
    "draft": [
        {"modules": [{"name": "fc"}]},
        {
            "prefix": "model.layers.{layer}.",
            "modules": [
                {"name": "self_attn.qkv_proj"},
                {"name": "self_attn.o_proj"},
                {"name": "experts", "when": "experts"},
                {"name": "router", "asks": False},
            ],
        },
    ],
}


def disagreements(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str] | None = None,
    **changed: Any,
) -> list[str]:
    """What the check says of the demonstration's policy, some fields or files changed."""
    record = parse(json.dumps({**POLICY, **changed}).encode(), Family, "demo.json")
    known = Policy("demo", ("DemoForCausalLM",), ("demo",), record, KNOWLEDGE)
    monkeypatch.setattr(second, "families", lambda: ("demo",))
    monkeypatch.setattr(second, "policy", lambda _: known)
    return list(second.disagreements("0.33.0", write(tmp_path, files)))


def test_the_data_is_plain_sorted_and_the_same_each_time(tmp_path: Path) -> None:
    data = extract.extract("0.33.0", write(tmp_path))
    assert json.loads(json.dumps(data)) == data
    assert data == extract.extract("0.33.0", write(tmp_path))
    assert data["architectures"]["DemoMTPModel"] == {"module": "demo_mtp", "class": "DemoMTP"}
    assert data["becomes"]["demo"]["fields"] == ["num_demo_layers"]
    assert data["targets"]["DemoForCausalLM"]["added"] == {"wide_proj": ["a_proj", "b_proj"]}
    assert [row["platforms"] for row in data["drafts"]["SplitMTPModel"]] == [
        ["cuda", "cpu"],
        ["rocm"],
    ]
    assert "compressed-tensors: should_ignore_layer" in data["matchers"]


def test_two_releases_are_compared_for_people(tmp_path: Path) -> None:
    old = extract.extract("1.0", write(tmp_path / "old"))
    text = FILES[DRAFT].replace('prefix="fc"', 'prefix=""')
    utils = "model_executor/layers/quantization/compressed_tensors/utils.py"
    later = {DRAFT: text, utils: FILES[utils].replace("in ignore", "not in ignore")}
    new = extract.extract("1.1", write(tmp_path / "new", later))
    said = changes.report(old, new)
    assert "DemoMTPModel: no policy yet" in said
    assert "~ DemoPredictor: fc: ColumnParallelLinear(prefix='fc', " in said
    assert "Unchanged: SplitMTPModel" in said
    assert "~ compressed-tensors: should_ignore_layer" in said
    assert "+    return layer_name not in ignore" in said


def test_releases_that_do_not_differ_are_said_to_be_the_same(tmp_path: Path) -> None:
    data = extract.extract("1.0", write(tmp_path))
    assert "Unchanged: DemoMTPModel, DemoMoeMTPModel, SplitMTPModel" in changes.report(data, data)


def test_new_and_gone_drafts_are_named(tmp_path: Path) -> None:
    old = extract.extract("1.0", write(tmp_path))
    new = json.loads(json.dumps(old))
    del new["drafts"]["SplitMTPModel"]
    assert "- gone: vllm.models.split.amd.mtp:SplitMTP" in changes.report(old, new)
    assert "+ new: vllm.models.split.amd.mtp:SplitMTP" in changes.report(new, old)


def test_a_first_policy_has_the_names_that_the_source_gives(tmp_path: Path) -> None:
    made = drafting.draft("0.33.0", write(tmp_path), "DemoMTPModel")
    assert made["mtp_layers"] == "default(num_demo_layers, 0)"
    layer, rest = made["draft"]
    assert layer["prefix"] == "model.layers.{layer}."
    assert [m["name"] for m in layer["modules"]] == [
        "self_attn.qkv_proj",
        "self_attn.o_proj",
        "experts",
    ]
    assert layer["modules"][0]["members"] == [f"self_attn.{x}_proj" for x in "qkv"]
    assert "taken from DemoForCausalLM" in made["todo"][-1]
    assert layer["modules"][2]["condition"] == "config.experts"
    assert [(m["name"], m.get("asks", True)) for m in rest["modules"]] == [
        ("model.eh_proj", False),
        ("fc", True),
    ]
    assert {m["grade"] for m in (*layer["modules"], *rest["modules"])} == {"assumed"}


def test_a_target_s_name_serves_as_well_and_another_is_refused(tmp_path: Path) -> None:
    read = write(tmp_path)
    assert drafting.draft("0.33.0", read, "demo_moe")["title"] == "DemoMoeMTPModel"
    with pytest.raises(SystemExit, match="no such draft"):
        drafting.draft("0.33.0", read, "Nobody")


def test_a_right_policy_has_no_disagreement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert disagreements(tmp_path, monkeypatch) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"draft_class": [{"value": "Other"}]}, "draft class: policy Other, sources DemoMTP"),
        ({"releases": "<0.33"}, "the policy has no draft, the sources have DemoMTP"),
        ({"packed": [{"value": {}}]}, "packed: policy {}, sources"),
        ({"own_config": [{}]}, "sources {}"),
        ({"mtp_layers": "num_other"}, "layers: policy num_other, sources num_demo_layers"),
        ({"mappers": []}, "mapper: the sources "),
        ({"draft": POLICY["draft"][1:]}, "sources alone ask for fc, the policy for none"),
        ({"draft": [*POLICY["draft"], {"modules": [{"name": "x"}]}]}, "the policy for x"),
    ],
)
def test_a_wrong_policy_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], said: str
) -> None:
    found = disagreements(tmp_path, monkeypatch, **changed)
    assert found
    assert all(said in line for line in found), found


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("demo", "draft class: policy DemoMTP, sources DemoLayer"),
        ("demo_mtp", "the policy has a draft, the sources have none"),
    ],
)
def test_a_draft_that_is_not_mtp_comes_with_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, said: str
) -> None:
    registry = "model_executor/models/registry.py"
    row = f'"DSparkDraftModel": ("{module}", "DemoLayer"),\n    "DemoMoe'
    files = {registry: FILES[registry].replace('"DemoMoe', row, 1)}
    found = disagreements(tmp_path, monkeypatch, files, speculation="dspark")
    assert said in found[0].removeprefix("demo: ")


def test_a_platform_is_told_where_not_all_disagree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"value": "Other", "platforms": ["rocm"]}
    found = disagreements(tmp_path, monkeypatch, draft_class=[row, *POLICY["draft_class"]])
    assert found == ["demo on rocm: draft class: policy Other, sources DemoMTP"]


def test_a_home_without_the_release_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(extract.MissingError, match=r"python -m tools\.environments 0\.33\.0"):
        extract.sources("0.33.0", tmp_path)
