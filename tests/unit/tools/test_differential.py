"""Matchers are lifted out of sources, asked generated questions, and their answers kept."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tools import grammar
from tools.differential import Generated, checksum, letter, read_generated, record, write_generated
from tools.lifting import lifted

UTILS = """
import torch
from collections.abc import Iterable
from vllm.logger import init_logger

logger = init_logger(__name__)

def should_ignore_layer(layer_name, ignore=(), fused_mapping={}) -> bool:
    if layer_name in fused_mapping:
        raise ValueError("shards differ")
    return _among(layer_name, ignore)

def _among(name: str, names: Iterable[str]) -> bool:
    return name in names

def find_matched_target(layer_name, module, targets, fused_mapping={}):
    return next((t for t in targets if t in type(module).__name__), None)
"""
CONFIG = """
class CompressedTensorsConfig(QuantizationConfig):
    def apply_vllm_mapper(self, hf_to_vllm_mapper: "WeightsMapper"):
        self.ignore = hf_to_vllm_mapper.apply_list(self.ignore)
"""
MAPPER = """
from dataclasses import dataclass, field

@dataclass
class WeightsMapper:
    orig_to_new_prefix: "Mapping[str, str]" = field(default_factory=dict)
    orig_to_new_substr: "Mapping[str, str]" = field(default_factory=dict)
    orig_to_new_suffix: "Mapping[str, str]" = field(default_factory=dict)

    def apply_list(self, values: "list[torch.Tensor]"):
        return [self.orig_to_new_prefix.get(value, value) for value in values]
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    quantization = "vllm/model_executor/layers/quantization/compressed_tensors"
    for name, text in (
        (f"{quantization}/utils.py", UTILS),
        (f"{quantization}/compressed_tensors.py", CONFIG),
        ("vllm/model_executor/models/utils.py", MAPPER),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_functions_are_run_without_what_stands_around_them(sources: Path) -> None:
    found = lifted(sources)
    assert found.ignored("a", ["a"], {}) == ("+", "")
    assert found.ignored("b", ["a"], {}) == ("-", "")
    assert found.ignored("b", [], {"b": ["c"]}) == ("ValueError", "shards differ")
    assert found.target("a", "QKVParallelLinear", ["Row", "Linear"], {}) == "1"
    assert found.target("a", "Head", ["Row"], {}) == "-"
    assert found.mapped(["a", "b"], {"prefix": {"a": "c"}}) == ["c", "b"]


def test_a_release_is_recorded_beside_others(sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_generated_twice(out)
    said = record("0.99.0", sources, out)
    assert said.startswith("0.99.0: 8080 answers, ")
    assert set(read_generated(out)) == {"0.1.0", "0.2.0", "0.99.0"}
    assert len((out / "0.99.0.json").read_text(encoding="utf-8")) > 0


def write_generated_twice(out: Path) -> None:
    out.mkdir()
    same = Generated("+-", "0-", ("0001",))
    write_generated(out, {"0.2.0": same, "0.1.0": same})


def test_equal_releases_stand_together_in_order(tmp_path: Path) -> None:
    same, other = Generated("+", "0", ("00ff",)), Generated("-", "-", ("00ff",))
    answers = {"0.10.0": same, "0.9.0": same, "0.8.0": other}
    write_generated(tmp_path, answers)
    assert read_generated(tmp_path) == answers
    text = (tmp_path / "generated.json").read_text(encoding="utf-8")
    assert text.index('"0.9.0"') < text.index('"0.10.0"')


def test_answers_are_letters() -> None:
    said = ["+", "-", "7", "ValueError", "error", "IndexError"]
    assert "".join(map(letter, said)) == "+-7VE?"
    assert checksum(["a"]) == checksum(("a",)) != checksum(["b"])


def test_a_question_follows_from_its_number_alone() -> None:
    first = list(itertools.islice(grammar.matches(), 3))
    assert first == list(grammar.matches(3))
    assert first[0].name == "mtp.mtp_layers.0.mlp.head"
    assert len(set(map(repr, grammar.matches(500)))) > 480


def test_no_target_stands_twice_and_no_suffix_is_empty() -> None:
    assert all(len(set(q.targets)) == len(q.targets) for q in grammar.matches(500))
    assert all("" not in q.tables["suffix"] for q in grammar.maps(500))
