"""The name mapper of the target, applied to entries."""

from __future__ import annotations

import pytest

from mtpfix.engines.vllm.name_mapper import map_name, mapped, mapped_for_draft
from mtpfix.engines.vllm.records.family import MapperRow
from tests.unit.engines.small import DEEPSEEK_V4, GLM, Config, context, known, view_of, with_list

QWEN: Config = {
    "architectures": ["Qwen3_5ForConditionalGeneration"],
    "text_config": {"num_hidden_layers": 2, "mtp_num_hidden_layers": 1},
}


INKLING: Config = {
    "architectures": ["InklingForConditionalGeneration"],
    "text_config": {"num_hidden_layers": 2},
    "mtp_config": {"num_nextn_predict_layers": 1},
}


@pytest.mark.parametrize(
    ("name", "mapper", "new"),
    [
        ("a.b", {}, "a.b"),
        ("a.b", {"prefix": {"a.": "x."}}, "x.b"),
        ("b.a.", {"prefix": {"a.": "x."}}, "b.a."),
        ("a.a.b", {"prefix": {"a.": "x."}}, "x.a.b"),
        ("a.b", {"suffix": {".b": ".y"}}, "a.y"),
        ("a.b.c", {"suffix": {".b": ".y"}}, "a.b.c"),
        ("a.b.b", {"suffix": {".b": ".y"}}, "a.b.y"),
        ("a.b.c", {"substr": {".b.": ".y."}}, "a.y.c"),
        ("a.b.b.c", {"substr": {".b": ".y"}}, "a.y.b.c"),
        ("a", {"prefix": {"a": "b", "b": "c"}}, "c"),
        ("a", {"prefix": {"b": "c", "a": "b"}}, "b"),
        ("a.s", {"substr": {".s": ".t"}, "suffix": {".t": ".u"}}, "a.u"),
        ("", {"prefix": {"a.": "x."}}, ""),
    ],
)
def test_a_name_is_mapped(name: str, mapper: dict[str, dict[str, str]], new: str) -> None:
    assert map_name(name, MapperRow(**mapper)) == new


def mapped_texts(config: Config, *ignore: str) -> list[str]:
    config = with_list(config, ignore)
    return [e.text for e in mapped(view_of(config), known(config), context(config)).ignore]


def test_an_entry_in_the_checkpoint_s_spelling_is_renamed() -> None:
    assert mapped_texts(DEEPSEEK_V4, "mtp.0.e_proj") == ["model.mtp.0.e_proj"]


def test_a_pattern_is_left_alone() -> None:
    assert mapped_texts(DEEPSEEK_V4, "re:mtp.0.e_proj") == ["re:mtp.0.e_proj"]


def test_an_entry_without_a_dot_is_left_alone() -> None:
    assert mapped_texts(DEEPSEEK_V4, "head", "embed") == ["head", "embed"]


def test_w2_of_the_shared_experts_is_renamed_by_a_part_of_the_name() -> None:
    assert mapped_texts(DEEPSEEK_V4, "layers.0.ffn.shared_experts.w2") == [
        "model.layers.0.ffn.shared_experts.down_proj"
    ]


def test_the_wrapper_s_prefix_is_added() -> None:
    assert mapped_texts(QWEN, "model.language_model.layers.0.mlp.gate_proj", "mtp.fc") == [
        "language_model.model.layers.0.mlp.gate_proj",
        "mtp.fc",
    ]


def test_a_family_without_a_mapper_keeps_its_view() -> None:
    config = with_list(GLM, ("a.b",))
    view = view_of(config)
    assert mapped(view, known(config), context(config)) is view


def test_a_renamed_entry_remembers_how_it_was_written() -> None:
    config = with_list(DEEPSEEK_V4, ("mtp.0.e_proj", "head"))
    renamed, kept = mapped(view_of(config), known(config), context(config)).ignore
    assert (renamed.spelling, renamed.pointer) == (
        "mtp.0.e_proj",
        "/quantization_config/ignore/0",
    )
    assert (kept.written, kept.spelling) == (None, "head")


def test_targets_are_renamed_too() -> None:
    groups = {"g": {"targets": ["layers.0.attn.wo_b", "Linear"], "weights": {"num_bits": 8}}}
    config = with_list(DEEPSEEK_V4, (), config_groups=groups)
    (group,) = mapped(view_of(config), known(config), context(config)).groups
    assert [target.text for target in group.targets] == ["model.layers.0.attn.wo_b", "Linear"]


@pytest.mark.parametrize(
    ("release", "text"),
    [
        ("0.32.0", "model.mtp.layers.0.transformer_block.mlp.w13_dn"),
        ("0.33.0", "model.layers.0.transformer_block.mlp.gate_up_proj"),
    ],
)
def test_a_draft_class_may_map_as_a_whole(release: str, text: str) -> None:
    config = with_list(INKLING, ("model.mtp.layers.0.transformer_block.mlp.w13_dn",))
    in_release = context(config, release)
    (entry,) = mapped_for_draft(view_of(config), known(config), in_release).ignore
    assert entry.text == text
