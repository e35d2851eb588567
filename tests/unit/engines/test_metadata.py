"""Where the metadata is found, how it is read, and how its list is changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtpfix import quant
from mtpfix.engines.vllm import metadata
from mtpfix.errors import BrokenFileError, UnknownError
from mtpfix.model import Edit, JsonFile, QuantView
from mtpfix.quant import Change, Location
from mtpfix.repair import patch
from tests.unit.engines.small import FP8

CT = {"quant_method": "compressed-tensors"}


def find(config: Any) -> Location | None:
    return metadata.find({"config.json": JsonFile("config.json", b"", config)})


def read(**fields: Any) -> QuantView:
    return metadata.read(Location("config.json", "/quantization_config", {**CT, **fields}))


# --- finding -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "pointer"),
    [
        ({"quantization_config": CT}, "/quantization_config"),
        ({"text_config": {"quantization_config": CT}}, "/text_config/quantization_config"),
        ({"compression_config": CT}, "/compression_config"),
        (
            {"quantization_config": CT, "text_config": {"quantization_config": {}}},
            "/quantization_config",
        ),
        (
            {"compression_config": CT, "text_config": {"quantization_config": CT}},
            "/text_config/quantization_config",
        ),
        ({"quantization_config": None, "compression_config": CT}, "/compression_config"),
        ({"quantization_config": {}}, "/quantization_config"),
    ],
)
def test_metadata_is_found_in_the_order_of_the_engine(config: Any, pointer: str) -> None:
    place = find(config)
    assert place is not None
    assert (place.file, place.pointer) == ("config.json", pointer)


@pytest.mark.parametrize("config", [{}, {"text_config": [1]}, {"text_config": None}, {"a": CT}])
def test_there_may_be_none(config: Any) -> None:
    assert find(config) is None


def test_there_is_none_without_a_configuration() -> None:
    assert metadata.find({}) is None


@pytest.mark.parametrize("value", [[1], "fp8", 3, True])
def test_metadata_of_another_type_is_not_passed_over(value: Any) -> None:
    with pytest.raises(BrokenFileError):
        find({"quantization_config": value})


@pytest.mark.parametrize(
    ("value", "method"),
    [
        (CT, "compressed-tensors"),
        ({"quant_method": "FP8"}, "fp8"),
        ({}, ""),
        ({"quant_method": None}, ""),
        ({"quant_method": ["fp8"]}, ""),
    ],
)
def test_the_method_is_read_in_lower_case(value: Any, method: str) -> None:
    assert metadata.method_of(Location("config.json", "/quantization_config", value)) == method


def test_the_method_may_be_written_with_an_underscore() -> None:
    """`_normalize_quantization_config` in transformers_utils/model_arch_config_convertor.py."""
    place = Location("config.json", "/quantization_config", {"quant_method": "compressed_tensors"})
    assert metadata.method_of(place) == "compressed-tensors"


def test_a_method_without_a_dialect_is_unknown() -> None:
    with pytest.raises(UnknownError) as caught:
        metadata.read(Location("config.json", "/quantization_config", {"quant_method": "petit"}))
    assert caught.value.code == "MTP902"


def test_a_method_that_vllm_has_and_we_cannot_judge_is_told_with_the_reason() -> None:
    for method, why in metadata.UNJUDGED.items():
        with pytest.raises(UnknownError, match=why) as caught:
            metadata.read(Location("config.json", "/quantization_config", {"quant_method": method}))
        assert caught.value.exit_code == 3


def test_metadata_of_which_vllm_reads_the_name_alone_is_told() -> None:
    with pytest.raises(BrokenFileError, match="takes the method from"):
        find({"text_config": {"compression_config": CT}})


# --- reading -----------------------------------------------------------------


def test_entries_know_their_place() -> None:
    view = read(ignore=["lm_head", "re:.*"])
    assert [(e.text, e.file, e.pointer) for e in view.ignore] == [
        ("lm_head", "config.json", "/quantization_config/ignore/0"),
        ("re:.*", "config.json", "/quantization_config/ignore/1"),
    ]


@pytest.mark.parametrize("fields", [{}, {"ignore": None}, {"ignore": []}])
def test_an_absent_list_is_empty(fields: Any) -> None:
    view = read(**fields)
    assert (view.ignore, view.ignore_pointer) == ((), "/quantization_config/ignore")


def test_the_file_and_pointer_of_the_metadata_are_told() -> None:
    assert read().files == ("config.json#/quantization_config",)


def test_a_group_has_targets_schemes_and_format() -> None:
    (group,) = read(
        config_groups={"g": {"targets": ["Linear"], **FP8, "format": "float-quantized"}}
    ).groups
    assert (group.name, group.format) == ("g", "float-quantized")
    assert group.weights == FP8["weights"]
    assert group.targets[0].pointer == "/quantization_config/config_groups/g/targets/0"


def test_the_name_of_a_group_is_escaped_in_pointers() -> None:
    (group,) = read(config_groups={"a/b~c": {"targets": ["Linear"]}}).groups
    assert group.targets[0].pointer == "/quantization_config/config_groups/a~1b~0c/targets/0"


@pytest.mark.parametrize(
    ("targets", "kept"),
    [
        (["LlamaAttention"], False),
        (["re:.*Attention"], False),
        (["LlamaAttention", "Linear"], True),
        (["Attention2"], True),
        ([], True),
    ],
)
def test_a_group_for_attention_alone_is_left_out(targets: list[str], kept: bool) -> None:
    assert bool(read(config_groups={"g": {"targets": targets}}).groups) is kept


@pytest.mark.parametrize(
    "fields",
    [
        {"ignore": "lm_head"},
        {"ignore": {"lm_head": 1}},
        {"ignore": [1]},
        {"ignore": ["a", None]},
        {"config_groups": [1]},
        {"config_groups": {"g": None}},
        {"config_groups": {"g": {}}},
        {"config_groups": {"g": {"targets": "Linear"}}},
        {"config_groups": {"g": {"targets": [None]}}},
        {"config_groups": {"g": {"targets": ["Linear"], "weights": [8]}}},
        {"config_groups": {"g": {"targets": ["Linear"], "input_activations": 8}}},
        {"config_groups": {"g": {"targets": ["Linear"], "format": 3}}},
        {"format": ["a"]},
    ],
)
def test_a_part_of_another_type_is_a_broken_file(fields: Any) -> None:
    with pytest.raises(BrokenFileError) as caught:
        read(**fields)
    assert caught.value.message.startswith("config.json: /quantization_config/")


# --- changing ----------------------------------------------------------------


def test_entries_are_removed_by_place_and_added_at_the_end() -> None:
    view = read(ignore=["a", "b", "c"])
    assert quant.edit(view, Change((1,), ("d", "e"))) == (
        Edit("config.json", "/quantization_config/ignore/1", "remove"),
        Edit("config.json", "/quantization_config/ignore/-", "add", "d"),
        Edit("config.json", "/quantization_config/ignore/-", "add", "e"),
    )


def test_no_change_makes_no_edit() -> None:
    assert quant.edit(read(ignore=["a"]), Change()) == ()


def test_no_change_of_null_makes_no_edit() -> None:
    assert quant.edit(read(ignore=None), Change()) == ()


def test_the_changed_view_counts_places_anew() -> None:
    view = quant.changed(read(ignore=["a", "b"]), Change((0,), ("c",)))
    assert [(e.text, e.pointer.rpartition("/")[2]) for e in view.ignore] == [("b", "0"), ("c", "1")]


_LISTS = st.none() | st.lists(st.text(max_size=6), max_size=5)


@given(_LISTS, st.sets(st.integers(0, 4)), st.lists(st.text(max_size=6), max_size=3), st.booleans())
def test_the_edits_give_what_the_changed_view_says(
    ignore: list[str] | None, remove: set[int], add: list[str], absent: bool
) -> None:
    fields: dict[str, Any] = {} if absent else {"ignore": ignore}
    config = {"quantization_config": {**CT, **fields}}
    view = read(**fields)
    gone = tuple(sorted(index for index in remove if index < len(view.ignore)))
    change = Change(gone, tuple(add))
    old = json.dumps(config).encode()
    new = json.loads(patch.apply(old, quant.edit(view, change)))
    place = find(new)
    assert place is not None
    assert metadata.read(place).ignore == quant.changed(view, change).ignore
