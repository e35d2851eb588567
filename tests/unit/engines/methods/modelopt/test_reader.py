"""ModelOpt's metadata: four methods, two forms, and layers with algorithms of their own."""

from __future__ import annotations

from typing import Any

import pytest

from mtpfix.engines.vllm import metadata
from mtpfix.engines.vllm.methods.modelopt.reader import layers
from mtpfix.errors import BrokenFileError
from mtpfix.model import QuantView
from mtpfix.quant import Location


def read(**fields: Any) -> QuantView:
    stated = {"quant_method": "modelopt", **fields}
    return metadata.read(Location("config.json", "/quantization_config", stated))


@pytest.mark.parametrize(
    ("algo", "method", "format_"),
    [
        ("FP8", "modelopt", "fp8-tensor"),
        ("fp8_pb_wo", "modelopt", "fp8-block"),
        ("FP8_PER_CHANNEL_PER_TOKEN", "modelopt", "fp8-channel"),
        ("NVFP4", "modelopt_fp4", "nvfp4"),
        ("W4A16_NVFP4", "modelopt_fp4", "w4a16-nvfp4"),
        ("MXFP8", "modelopt_mxfp8", "mxfp8"),
        ("MIXED_PRECISION", "modelopt_mixed", None),
        ("NEWEST", "modelopt", None),
        (None, "modelopt", None),
        (8, "modelopt", None),
    ],
)
def test_the_algorithm_chooses_the_method(algo: Any, method: str, format_: str | None) -> None:
    view = read(quant_algo=algo)
    assert (view.method, view.format) == (method, format_)


def test_the_algorithm_outdoes_the_method_that_is_named() -> None:
    assert read(quant_method="modelopt", quant_algo="NVFP4").method == "modelopt_fp4"
    assert read(quant_method="modelopt_fp4", quant_algo="FP8").method == "modelopt"


def test_a_method_is_taken_at_its_word_where_no_algorithm_says_otherwise() -> None:
    assert read(quant_method="modelopt_mxfp8").method == "modelopt_mxfp8"


@pytest.mark.parametrize(
    ("groups", "format_"),
    [
        ({"g": {"input_activations": None}}, "nvfp4-weights"),
        ({"g": {}}, "nvfp4-weights"),
        ({"g": {"input_activations": {}}}, "nvfp4"),
        ({"g": {}, "h": {"input_activations": {}}}, "nvfp4"),
        ({"g": 1}, "nvfp4"),
        ({}, "nvfp4"),
        ([], "nvfp4"),
    ],
)
def test_nvfp4_may_be_of_weights_alone(groups: Any, format_: str) -> None:
    assert read(quant_algo="NVFP4", config_groups=groups).format == format_


def test_the_flat_form_has_its_entries_under_ignore() -> None:
    view = read(quant_algo="FP8", ignore=["lm_head"], exclude_modules=["other"])
    assert [(entry.text, entry.pointer) for entry in view.ignore] == [
        ("lm_head", "/quantization_config/ignore/0")
    ]


def test_the_nested_form_has_them_under_exclude_modules() -> None:
    view = read(quantization={"quant_algo": "FP8", "exclude_modules": ["lm_head"]}, ignore=["x"])
    assert [(entry.text, entry.pointer) for entry in view.ignore] == [
        ("lm_head", "/quantization_config/quantization/exclude_modules/0")
    ]


@pytest.mark.parametrize("nested", [False, True])
def test_layers_are_the_targets_of_a_group(nested: bool) -> None:
    table = {"a/b": {"quant_algo": "FP8"}, "c": {"quant_algo": "NVFP4"}}
    stated = {"quant_algo": "MIXED_PRECISION", "quantized_layers": table}
    view = read(quantization=stated) if nested else read(**stated)
    (group,) = view.groups
    where = "/quantization_config" + ("/quantization" if nested else "") + "/quantized_layers"
    assert [(e.text, e.pointer) for e in group.targets] == [
        ("a/b", f"{where}/a~1b"),
        ("c", f"{where}/c"),
    ]
    assert layers(view.raw) == table


@pytest.mark.parametrize(
    "fields",
    [
        {"ignore": "lm_head"},
        {"ignore": [1]},
        {"ignore": {"lm_head": 1}},
        {"quantization": []},
        {"quantization": None},
        {"quantization": {"exclude_modules": "lm_head"}},
        {"quantized_layers": ["a"]},
        {"quantized_layers": {"a": None}},
        {"quantized_layers": {"a": {}}},
        {"quantized_layers": {"a": {"quant_algo": 8}}},
    ],
)
def test_a_part_of_another_type_is_a_broken_file(fields: Any) -> None:
    with pytest.raises(BrokenFileError) as caught:
        read(**fields)
    assert caught.value.message.startswith("config.json: /quantization_config/")


def test_a_list_that_is_null_is_told_from_one_that_is_absent() -> None:
    assert read(ignore=None).null
    assert not read().null
