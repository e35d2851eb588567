"""mtpfix.grafts.fields: `config.json` declares the block as the base does, and changes no more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mtpfix.errors import RefusedError
from mtpfix.grafts.fields import (
    Section,
    declarations,
    refuse_other_sizes,
    taken_over,
    text_section,
)
from mtpfix.repair import patch

COUNT = "num_nextn_predict_layers"


def taken(ours: dict[str, Any], theirs: dict[str, Any], pointer: str = "") -> dict[str, Any]:
    """Return what the target's object says after the edits."""
    edits = tuple(taken_over(Section(pointer, ours), Section("", theirs)))
    whole = {pointer[1:]: ours} if pointer else ours
    made: dict[str, Any] = json.loads(patch.apply(json.dumps(whole).encode(), edits))
    return made[pointer[1:]] if pointer else made


@pytest.mark.parametrize("count", [0, 2, None])
def test_the_count_is_that_of_the_base(count: int | None) -> None:
    assert taken({COUNT: count, "a": 1}, {COUNT: 1, "a": 2}) == {COUNT: 1, "a": 1}


def test_a_count_that_is_absent_is_added() -> None:
    assert taken({"a": 1}, {"mtp_num_hidden_layers": 1}) == {"a": 1, "mtp_num_hidden_layers": 1}


def test_a_count_that_says_0_is_taken_out_where_the_base_has_none() -> None:
    assert taken({COUNT: 0, "mtp_flag": False, "mtp_more": 3}, {}) == {
        "mtp_flag": False,
        "mtp_more": 3,
    }


def test_nothing_is_edited_where_both_say_the_same() -> None:
    same = {COUNT: 1, "layer_types": ["a", "b", "c"], "num_hidden_layers": 2}
    assert list(taken_over(Section("", dict(same)), Section("", same))) == []


def test_a_nested_object_about_mtp_is_taken_whole() -> None:
    theirs = {"mtp_config": {"layers": 1, "mtp_use_dedicated_embeddings": True}}
    assert taken({"x": 1}, theirs) == {"x": 1, **theirs}


@pytest.mark.parametrize(
    "key", ["mtp", "mtp_x", "x_mtp", "num_mtp_modules", "num_nextn_predict_layers", "nextn"]
)
def test_fields_about_mtp(key: str) -> None:
    assert taken({}, {key: 7}) == {key: 7}


@pytest.mark.parametrize("key", ["prompt_size", "mtpx", "hidden_act", "empty", "nextnorm"])
def test_other_fields_stay_out(key: str) -> None:
    assert taken({}, {key: 7}) == {}


def test_edits_go_where_the_text_model_stands() -> None:
    assert taken({"a": 1}, {COUNT: 1}, "/text_config") == {"a": 1, COUNT: 1}


# --- lists with one value a layer ----------------------------------------------


def test_a_list_that_was_cut_to_the_target_model_gets_its_end_back() -> None:
    ours = {"num_hidden_layers": 2, "layer_types": ["a", "b"], "other": [1, 2, 3]}
    theirs = {"num_hidden_layers": 2, "layer_types": ["a", "b", "c"], "other": [1, 2, 3, 4]}
    assert taken(ours, theirs)["layer_types"] == ["a", "b", "c"]
    assert taken(ours, theirs)["other"] == [1, 2, 3]  # not one a layer


@pytest.mark.parametrize(
    "mine", [["a", "x"], ["a"], "ab", None], ids=["other", "shorter", "text", "null"]
)
def test_a_list_that_is_another_one_stays(mine: Any) -> None:
    ours = {"num_hidden_layers": 2, "layer_types": mine}
    assert taken(ours, {"layer_types": ["a", "b", "c"]}) == ours


# --- sizes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "hidden_size",
        "num_attention_heads",
        "head_dim",
        "kv_lora_rank",
        "n_routed_experts",
        "num_hidden_layers",
        "moe_intermediate_size",
    ],
)
def test_a_base_of_other_sizes_is_refused(key: str) -> None:
    ours, theirs = Section("", {key: 8}), Section("", {key: 16})
    with pytest.raises(RefusedError, match=rf"config\.json: {key} is 8 here and 16") as caught:
        refuse_other_sizes(ours, theirs, vocabulary=False)
    assert caught.value.remedy


def test_the_vocabulary_counts_where_the_block_has_it() -> None:
    ours, theirs = Section("", {"vocab_size": 8}), Section("", {"vocab_size": 16})
    refuse_other_sizes(ours, theirs, vocabulary=False)
    with pytest.raises(RefusedError, match="vocab_size"):
        refuse_other_sizes(ours, theirs, vocabulary=True)


def test_sizes_that_one_of_them_does_not_say_and_the_count_of_mtp_layers_are_no_matter() -> None:
    ours = Section("", {"a_size": 1, COUNT: 0, "head_dim": None, "max": 5})
    theirs = Section("", {"b_size": 2, COUNT: 1, "head_dim": 4, "max": 6})
    refuse_other_sizes(ours, theirs, vocabulary=True)


# --- sections and declarations --------------------------------------------------


def test_the_text_model_is_nested_or_not() -> None:
    nested = {"text_config": {"a": 1}}
    assert text_section(nested, "text_config") == Section("/text_config", {"a": 1})
    assert text_section({"a": 1}, "text_config") == Section("", {"a": 1})
    assert text_section(nested, "") == Section("", nested)
    assert text_section({"text_config": 5}, "text_config").pointer == ""


def test_every_declaration_is_found() -> None:
    config = {
        COUNT: 1,
        "mtp_config": {COUNT: 2},
        "text_config": {COUNT: 3, "mtp_config": {COUNT: 4}, "other": 5},
        "vision_config": {COUNT: 6},
        "mtp_list": [1],
    }
    found = list(declarations(config, "text_config", [COUNT, "mtp_list"]))
    assert found == [
        f"/{COUNT}",
        f"/text_config/{COUNT}",
        f"/mtp_config/{COUNT}",
        f"/text_config/mtp_config/{COUNT}",
    ]
