"""What other readers make of a list: which modules of the target model a change moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mtpfix.engines.vllm import methods, policy
from mtpfix.repair import readers
from mtpfix.repair.readers import Readings, Treated, readers_of
from tests.unit.engines.small import at_most

NAMES = (
    "lm_head",
    "model.layers.0.mlp.down_proj",
    "model.layers.1.mlp.down_proj",
    "model.layers.1.mlp.experts.0.up_proj",
    "model.layers.1.mlp.experts",
    "model.layers.10.self_attn.o_proj",
)
HEADS = ("lm_head",)


def moved(
    method: str, before: Any, after: Any, names: tuple[str, ...] = NAMES
) -> dict[str, list[str]]:
    """Reader -> modules that it treats otherwise."""
    found: dict[str, list[str]] = {}
    for treated in Readings(method, names, HEADS).changed(as_listed(before), as_listed(after)):
        found.setdefault(treated.reader, []).append(treated.module)
    return found


def as_listed(entries: Any) -> Mapping[str, Any] | None:
    return dict.fromkeys(entries) if isinstance(entries, list) else entries


NOW, EARLIER = "transformers", "transformers before 5.0"


@pytest.mark.parametrize(
    ("method", "entry", "expected"),
    [
        ("fp8", "", {NOW: [*NAMES], EARLIER: [*NAMES]}),
        ("torchao", "", {NOW: [*NAMES], EARLIER: [*NAMES]}),
        ("fp8", "model.layers.1", {NOW: [*NAMES[2:5]], EARLIER: [*NAMES[2:]]}),
        ("fp8", "layers.10.self_attn.o_proj", {NOW: [NAMES[5]], EARLIER: [NAMES[5]]}),
        ("fp8", "model.layers.2.mlp.down_proj", {}),
        ("awq", "down_proj", {r: [*NAMES[1:3]] for r in (NOW, EARLIER, "AutoAWQ")}),
        ("awq", "experts.0", {"AutoAWQ": [NAMES[3]]}),
        ("compressed-tensors", r"re:^model\.layers\.1\..*", {"compressed-tensors": [*NAMES[2:5]]}),
        ("compressed-tensors", "model.layers.1", {}),
        ("compressed-tensors", "Linear", {"compressed-tensors": [*NAMES]}),
        ("compressed-tensors", "re:^$", {}),
        (
            "modelopt",
            "model.layers.1*",
            {"TensorRT-LLM": [*NAMES[2:]]},
        ),
        ("quark", "model.layers.1.*", {"Quark": [*NAMES[2:5]]}),
        ("gptq", r"-:.*down_proj", {"GPTQModel": [*NAMES[1:3]]}),
        ("auto-round", "down_proj$", {"AutoRound": [*NAMES[1:3]]}),
        ("humming", "model", {}),
    ],
)
def test_a_new_entry_is_read_as_each_reader_reads_it(
    method: str, entry: str, expected: dict[str, list[str]]
) -> None:
    assert moved(method, ["x.y"], ["x.y", entry]) == expected
    assert moved(method, ["x.y", entry], ["x.y"]) == expected


def test_an_entry_that_others_stand_in_for_changes_nothing() -> None:
    assert moved("fp8", ["model", "model.layers.0"], ["model"]) == {}
    assert moved("fp8", [*NAMES], [*NAMES, "model.layers.2.fc"]) == {}


@pytest.mark.parametrize("missing", [None, []])
def test_the_first_entry_of_a_list_takes_the_head_from_transformers(missing: Any) -> None:
    heads = {} if missing == [] else {NOW: ["lm_head"], EARLIER: ["lm_head"]}
    assert moved("fp8", missing, ["model.layers.2.fc"]) == heads
    assert moved("fp8", missing, ["lm_head", "model.layers.2.fc"]) == (
        {} if missing is None else {NOW: ["lm_head"], EARLIER: ["lm_head"]}
    )
    assert moved("awq", missing, ["lm_head", "model.layers.2.fc"]) == {"AutoAWQ": ["lm_head"]}


@pytest.mark.parametrize(
    ("method", "keeps"), [("fp8", True), ("torchao", True), ("awq", False), ("quark", False)]
)
def test_some_readers_keep_the_head_without_a_list(method: str, keeps: bool) -> None:
    assert Readings(method, NAMES, HEADS).kept_heads == (HEADS if keeps else ())


def test_the_first_rule_that_fits_says_what_becomes_of_a_module() -> None:
    wide, narrow = {"+:.*": {"bits": 8}}, {r"-:^model\.layers\.0\..*": {}}
    assert moved("gptq", wide, {**narrow, **wide}) == {"GPTQModel": [NAMES[1]]}
    assert moved("gptq", wide, {**wide, **narrow}) == {}
    assert moved("gptq", wide, {"+:.*": {"bits": 4}}) == {"GPTQModel": [*NAMES]}


def test_a_key_that_is_spelled_like_a_name_goes_before_patterns() -> None:
    before = {"^model": {"bits": 4}, "lm_head": {"bits": 16}}
    assert moved("auto-round", before, {**before, "head": {"bits": 8}}) == {}


def test_what_becomes_of_a_module_is_told() -> None:
    readings = Readings("compressed-tensors", NAMES)
    assert list(readings.changed({}, {"lm_head": None})) == [
        Treated("compressed-tensors", "lm_head", True)
    ]
    assert list(readings.changed({"lm_head": None}, {})) == [
        Treated("compressed-tensors", "lm_head", False)
    ]


@pytest.mark.parametrize(
    "pattern", ["re:(a+)+$", "re:(", "re:(?:a{1000}){1000}", f"re:{'a' * 30_000}"]
)
def test_a_pattern_that_no_reader_could_use_hides_nothing_and_takes_no_time(pattern: str) -> None:
    names = tuple(f"{'a' * 40}.{i}b" for i in range(300))
    with at_most(60):
        assert moved("compressed-tensors", [pattern], [], names) == {}
        found = moved("compressed-tensors", [pattern], [pattern, names[0]], names)
    assert found == {"compressed-tensors": [names[0]]}


def test_a_plain_entry_is_asked_about_a_large_model_in_no_time() -> None:
    names = [f"model.layers.{i}.mlp.experts.{e}.up_proj" for i in range(60) for e in range(1500)]
    readings = Readings("fp8", names)
    with at_most(60):
        for entry in ("model.layers.61.mlp.down_proj", "mtp.0.e_proj", "model.layers.61.eh_proj"):
            assert list(readings.changed({}, {entry: None})) == []


def test_a_long_list_of_names_is_looked_up() -> None:
    names = [f"model.layers.{i}.mlp.experts.{e}.up_proj" for i in range(60) for e in range(400)]
    long = dict.fromkeys(names[:20_000])
    readings = Readings("compressed-tensors", names)
    with at_most(60):
        moved_now = list(readings.changed({**long, "re:.*experts.*": None}, long))
    assert [m.module for m in moved_now] == names[20_000:]


def test_more_questions_than_can_be_asked_count_as_a_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readers, "_MOST_QUESTIONS", 10)
    assert moved("fp8", ["model", *NAMES], [*NAMES]) == {NOW: [NAMES[1]], EARLIER: [NAMES[1]]}


def test_every_method_whose_list_vllm_reads_has_its_readers() -> None:
    without = {
        name for name in methods.names() if not readers_of(name) and not policy.method(name).unread
    }
    assert without == {"humming"}  # vLLM's own
