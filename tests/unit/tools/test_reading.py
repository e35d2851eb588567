"""Sources are read as Python would import them, and never run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.unit.tools.release import write
from tools.reading import attributes, constructions, rewrites
from tools.reading.sources import Defined, Sources

DRAFTS = {"DemoMTPModel", "DemoMoeMTPModel", "SplitMTPModel"}


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return write(tmp_path_factory.mktemp("release"))


def found(read: Sources, module: str, name: str) -> Defined:
    cls = read.find(module, name)
    assert cls is not None
    return cls


@pytest.mark.parametrize(
    ("platform", "module"),
    [
        ("cuda", "vllm.models.split.nvidia.mtp"),
        ("rocm", "vllm.models.split.amd.mtp"),
        ("xpu", None),
    ],
)
def test_a_package_chooses_by_platform(read: Sources, platform: str, module: str | None) -> None:
    cls = read.on(platform).find("vllm.models.split", "SplitMTP")  # type: ignore[arg-type]
    assert (cls.module if cls else None) == module


def test_a_name_is_followed_through_imports_and_may_come_from_elsewhere(read: Sources) -> None:
    cls = found(read, "vllm.model_executor.models.demo_mtp", "DemoLayer")
    assert cls.id == "vllm.model_executor.models.demo:DemoLayer"
    assert read.find("vllm.model_executor.models.demo_mtp", "nn") is None
    assert read.find("vllm.nowhere", "Anything") is None


def test_constructions_say_where_with_which_prefix_and_config(read: Sources) -> None:
    cls = found(read, "vllm.model_executor.models.demo_mtp", "DemoPredictor")
    rows = constructions.read_class(read, cls)["builds"]
    assert [(row["attribute"], row["class"], row["quant_config"]) for row in rows] == [
        ("layers", "DemoLayer", "absent"),
        ("eh_proj", "nn.Linear", "never"),
        ("fc", "ColumnParallelLinear", "conditional"),
    ]
    assert [row["prefix"] for row in rows] == ["f'{prefix}.layers.{i}'", None, "'fc'"]
    assert rows[2]["quant_source"].startswith("None if quant_config.get_name()")


def test_conditions_exceptions_and_classes_given_as_defaults_are_seen(read: Sources) -> None:
    layer = constructions.read_class(
        read, found(read, "vllm.model_executor.models.demo", "DemoLayer")
    )
    attention, experts = layer["builds"]
    assert attention["is"] == ["vllm.model_executor.models.demo:DemoAttention"]
    assert experts["when"] == ["config.experts"]
    inner = found(read, "vllm.model_executor.models.demo", "DemoAttention")
    assert constructions.read_class(read, inner)["tests"] == ["'mtp' not in prefix"]


def test_mappings_are_merged_inherited_and_added_to(read: Sources) -> None:
    split = found(read, "vllm.models.split", "SplitMTP")
    assert attributes.inherited(read, split, "packed") == {"w13": ["w1"], "w2": ["w2"]}
    target = found(read, "vllm.model_executor.models.demo", "DemoForCausalLM")
    assert attributes.inherited(read, target, "mapper") == {
        "orig_to_new_prefix": {"language.": "model.", "mtp.": None}
    }
    assert attributes.additions(target.node) == {"wide_proj": ["a_proj", "b_proj"]}
    assert attributes.inherited(read, split, "mapper") is None


def test_what_runs_alike_has_one_text() -> None:
    texts = (
        'def f(a: int) -> str:\n    """Says."""\n    return a  # so',
        "def f(a):\n    return a",
    )
    first, second = (attributes.normalised(ast.parse(text).body[0]) for text in texts)
    assert first == second
    assert attributes.digest(first) == attributes.digest(second)


@pytest.mark.parametrize(
    ("names", "drafts"),
    [
        ({"model_type": "demo"}, ["DemoMTPModel"]),
        ({"model_type": "demo_moe"}, ["DemoMoeMTPModel"]),
        ({"architecture": "SplitForCausalLM"}, ["SplitMTPModel"]),
        ({"model_type": "another"}, []),
        ({}, []),
    ],
)
def test_a_target_becomes_its_draft(
    read: Sources, names: dict[str, str], drafts: list[str]
) -> None:
    function = rewrites.override(read)
    assert function is not None
    assert [row.architecture for row in rewrites.drafts(function, DRAFTS, **names)] == drafts


def test_the_count_of_layers_and_the_names_in_tests_are_read(read: Sources) -> None:
    function = rewrites.override(read)
    assert function is not None
    (row,) = rewrites.drafts(function, DRAFTS, "demo")
    assert row.fields == ("num_demo_layers",)
    assert rewrites.named(function) == ["SplitForCausalLM", "demo", "demo_moe"]


def test_a_release_without_the_function_rewrites_nothing(tmp_path: Path) -> None:
    assert rewrites.override(Sources(tmp_path)) is None
