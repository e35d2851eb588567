"""Names of the modules that vLLM constructs, by configuration and release."""

from __future__ import annotations

from typing import Any

import pytest

from mtpfix.engines.policies import construction
from mtpfix.engines.policies.construction import MOST_LAYERS, counts, disk_roots
from mtpfix.engines.policies.context import first
from mtpfix.engines.policies.expression import ExprError
from mtpfix.engines.sglang import policy as sglang
from mtpfix.engines.vllm import policy
from mtpfix.errors import MtpfixError, UnknownError
from mtpfix.model import Module
from tests.unit.engines.small import (
    DEEPSEEK,
    DEEPSEEK_V4,
    GLM,
    MIMO,
    QWEN_NEXT,
    Config,
    context,
    known,
    modules,
)

QWEN: Config = {
    "architectures": ["Qwen3_5ForConditionalGeneration"],
    "model_type": "qwen3_5",
    "tie_word_embeddings": False,
    "text_config": {
        "num_hidden_layers": 2,
        "mtp_num_hidden_layers": 1,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "vision_config": {"depth": 1},
}
STEP: Config = {
    "architectures": ["Step3p5ForCausalLM"],
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 1,
    "moe_num_experts": 2,
    "moe_layers_enum": "1",
}
ERNIE: Config = {
    "architectures": ["Ernie4_5_MoeForCausalLM"],
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 1,
    "moe_num_experts": 2,
}
LONGCAT: Config = {
    "architectures": ["LongcatFlashForCausalLM"],
    "num_layers": 2,
    "q_lora_rank": 8,
    "n_routed_experts": 2,
}

QWEN4: Config = {
    "architectures": ["Qwen4ExpForCausalLM"],
    "num_hidden_layers": 2,
    "mtp_num_hidden_layers": 1,
    "num_experts": 2,
    "indexer_n_heads": 2,
}
NEMOTRON: Config = {
    "architectures": ["NemotronHForCausalLM"],
    "hybrid_override_pattern": "M*E-",
    "mtp_hybrid_override_pattern": "*E",
    "num_nextn_predict_layers": 1,
    "n_routed_experts": 2,
}


def asked(found: tuple[Module, ...]) -> list[str]:
    return [module.name for module in found if module.asks]


# --- each family -------------------------------------------------------------


def test_deepseek_with_q_lora_has_the_fused_projection() -> None:
    assert asked(modules(DEEPSEEK)) == [
        "model.layers.2.head",
        "model.layers.2.self_attn.fused_qkv_a_proj",
        "model.layers.2.self_attn.q_b_proj",
        "model.layers.2.self_attn.kv_b_proj",
        "model.layers.2.self_attn.o_proj",
        "model.layers.2.mlp.shared_experts.gate_up_proj",
        "model.layers.2.mlp.shared_experts.down_proj",
        "model.layers.2.mlp.experts",
    ]


def test_a_layer_that_is_thrown_away_again_asks_and_is_nowhere() -> None:
    made = modules(QWEN4, release="0.33.0")
    found = [m for m in made if m.name == "mtp.layers.2.self_attn.qkv_proj"]
    assert [(m.cls, m.param, bool(m.members)) for m in found] == [
        ("QKVParallelLinear", "", False),
        ("Qwen4ExpQSAQKVIndexerLinear", "model.layers.0.self_attn.qkv_proj", True),
    ]


def test_nemotron_has_a_block_for_each_letter() -> None:
    assert asked(modules(NEMOTRON, release="0.32.0")) == [
        "mtp.layers.0.mixer.qkv_proj",
        "mtp.layers.0.mixer.o_proj",
        "mtp.layers.0.eh_proj",
        "mtp.layers.1.mixer.shared_experts.up_proj",
        "mtp.layers.1.mixer.shared_experts.down_proj",
        "mtp.layers.1.mixer.experts",
        "lm_head",
    ]


def test_deepseek_without_q_lora_has_the_plain_ones() -> None:
    found = asked(modules({**DEEPSEEK, "q_lora_rank": None}))
    assert found[1:4] == [
        "model.layers.2.self_attn.kv_a_proj_with_mqa",
        "model.layers.2.self_attn.q_proj",
        "model.layers.2.self_attn.kv_b_proj",
    ]


def test_a_field_that_is_absent_has_the_default_of_the_engine() -> None:
    without = {key: value for key, value in DEEPSEEK.items() if key != "q_lora_rank"}
    assert "model.layers.2.self_attn.fused_qkv_a_proj" in asked(modules(without))


def test_a_dense_draft_has_no_experts() -> None:
    found = modules({**DEEPSEEK, "first_k_dense_replace": 9})
    assert not [module for module in found if module.kind == "experts"]
    assert "model.layers.2.mlp.gate_up_proj" in asked(found)


def test_no_shared_experts_are_built_where_there_are_none() -> None:
    found = asked(modules({**DEEPSEEK, "n_shared_experts": None}))
    assert not [name for name in found if "shared_experts" in name]


def test_several_layers_count_on_after_the_trunk() -> None:
    found = modules({**GLM, "num_nextn_predict_layers": 3})
    assert {module.layer for module in found} == {2, 3, 4}
    assert "model.layers.4.self_attn.qkv_proj" in asked(found)


def test_routed_experts_are_one_module_with_all_members() -> None:
    experts = next(m for m in modules(GLM) if m.kind == "experts")
    assert experts.name == "model.layers.2.mlp.experts"
    assert experts.probe == ("gate_proj", "up_proj", "down_proj")
    assert experts.experts == 2
    assert experts.members[0] == "model.layers.2.mlp.experts.*.gate_proj"


@pytest.mark.parametrize(("release", "cls"), [("0.23.0", "FusedMoE"), ("0.24.0", "RoutedExperts")])
def test_the_class_of_experts_was_renamed(release: str, cls: str) -> None:
    assert next(m for m in modules(GLM, release=release) if m.kind == "experts").cls == cls


def test_the_head_of_deepseek_is_asked_without_its_parent() -> None:
    head = next(m for m in modules(DEEPSEEK) if m.kind == "lm_head")
    assert (head.name, head.members, head.param) == (
        "model.layers.2.head",
        ("model.layers.2.shared_head.head",),
        "model.layers.2.shared_head.head",
    )


def test_eh_proj_is_never_asked_about() -> None:
    eh_proj = next(m for m in modules(DEEPSEEK) if m.param.endswith("eh_proj"))
    assert not eh_proj.asks


@pytest.mark.parametrize(
    ("release", "names"), [("0.23.0", ["", ""]), ("0.24.0", ["e_proj", "h_proj"])]
)
def test_deepseek_v4_projections_had_an_empty_name(release: str, names: list[str]) -> None:
    found = asked(modules(DEEPSEEK_V4, release=release))[:2]
    assert [name.rpartition(".")[2] for name in found] == names


@pytest.mark.parametrize(
    ("release", "probe"),
    [("0.31.0", ("gate_proj", "up_proj", "down_proj")), ("0.32.0", ("w1", "w3", "w2"))],
)
def test_deepseek_v4_experts_are_probed_by_their_own_names_from_0_32(
    release: str, probe: tuple[str, ...]
) -> None:
    experts = next(m for m in modules(DEEPSEEK_V4, release=release) if m.kind == "experts")
    assert experts.probe == probe


def test_deepseek_v4_is_stored_under_another_root() -> None:
    qkv = next(m for m in modules(DEEPSEEK_V4) if m.name.endswith("fused_wqa_wkv"))
    assert (qkv.name, qkv.members) == (
        "model.layers.2.attn.fused_wqa_wkv",
        ("mtp.0.attn.wq_a", "mtp.0.attn.wkv"),
    )


def test_mimo_has_three_spellings_of_one_module() -> None:
    o_proj = next(m for m in modules(MIMO) if m.name.endswith("o_proj"))
    assert (o_proj.name, o_proj.members, o_proj.param) == (
        "model.layers.2.self_attn.o_proj",
        ("model.mtp_layers.0.self_attn.o_proj",),
        "model.mtp_layers.2.mtp_block.self_attn.o_proj",
    )


def test_qwen_next_is_asked_by_the_names_on_disk() -> None:
    assert asked(modules(QWEN_NEXT))[:2] == ["mtp.fc", "mtp.layers.0.self_attn.qkv_proj"]


def test_experts_may_be_stored_stacked() -> None:
    experts = next(m for m in modules(QWEN_NEXT) if m.kind == "experts")
    assert experts.stacked == (
        "mtp.layers.0.mlp.experts.gate_up_proj",
        "mtp.layers.0.mlp.experts.down_proj",
    )


def test_the_text_configuration_counts_before_the_top_level() -> None:
    config = {**QWEN, "num_hidden_layers": 99}
    assert counts(known(config), context(config)) == (2, 1)


def test_the_trunk_of_a_wrapper_has_its_prefix() -> None:
    found = asked(modules(QWEN, "trunk"))
    assert "language_model.model.layers.0.linear_attn.in_proj_qkvz" in found
    assert "language_model.model.layers.1.self_attn.qkv_proj" in found
    assert "visual.blocks.0.attn.qkv" in found


def test_a_model_without_vision_builds_none() -> None:
    config = {key: value for key, value in QWEN.items() if key != "vision_config"}
    assert not [name for name in asked(modules(config, "trunk")) if name.startswith("visual")]


@pytest.mark.parametrize(
    ("tied", "release", "has"),
    [(True, "0.26.0", False), (False, "0.26.0", True), (True, "0.28.0", True)],
)
def test_a_tied_head_is_asked_from_0_27(tied: bool, release: str, has: bool) -> None:
    found = asked(modules({**QWEN, "tie_word_embeddings": tied}, "trunk", release))
    assert ("language_model.lm_head" in found) is has


@pytest.mark.parametrize(
    ("release", "name"), [("0.26.0", ""), ("0.27.1", "model.layers.2.shared_head.head")]
)
def test_the_head_of_step_had_an_empty_name(release: str, name: str) -> None:
    head = next(m for m in modules(STEP, release=release) if m.kind == "lm_head")
    assert head.name == name


def test_step_names_carry_mtp_block() -> None:
    assert "model.layers.2.mtp_block.self_attn.qkv_proj" in asked(modules(STEP))


def test_ernie_stores_the_block_under_another_root() -> None:
    o_proj = next(m for m in modules(ERNIE) if m.name.endswith("o_proj"))
    assert o_proj.members == ("model.mtp_block.0.self_attn.o_proj",)


def test_longcat_counts_its_layers_twice() -> None:
    assert asked(modules(LONGCAT))[:2] == ["eh_proj", "model.layers.4.self_attn.fused_qkv_a_proj"]


def test_platforms_can_have_model_files_of_their_own() -> None:
    config = {**DEEPSEEK, "architectures": ["DeepseekV32ForCausalLM"], "index_topk": 64}
    cuda, xpu = (modules(config, platform=p) for p in ("cuda", "xpu"))
    assert "model.embed_tokens" in asked(cuda)
    assert "model.embed_tokens" not in asked(xpu)


def test_amd_has_model_files_of_its_own_from_0_31() -> None:
    config = {**DEEPSEEK, "architectures": ["DeepseekV32ForCausalLM"], "index_topk": 64}
    generic = modules(config, "draft", "0.31.0", "xpu")
    assert modules(config, "draft", "0.30.0", "rocm") == generic
    found = asked(modules(config, "draft", "0.31.0", "rocm"))
    assert found.index("model.layers.2.self_attn.kv_b_proj") < found.index(
        "model.layers.2.self_attn.fused_qkv_a_proj"
    )
    assert "model.embed_tokens" not in found


def test_a_draft_of_no_layers_has_no_layer_modules() -> None:
    found = modules({**GLM, "num_nextn_predict_layers": 0})
    assert found == ()


# --- roots on disk -----------------------------------------------------------


def test_there_is_a_root_for_each_layer() -> None:
    config = {**MIMO, "num_nextn_predict_layers": 2}
    assert disk_roots(known(config), context(config)) == (
        "model.mtp_layers.0.",
        "model.mtp_layers.1.",
    )


def test_a_block_that_is_not_declared_has_a_root_too() -> None:
    config = {**GLM, "num_nextn_predict_layers": 0}
    assert disk_roots(known(config), context(config)) == ("model.layers.2.",)


# --- hostile counts ----------------------------------------------------------


@pytest.mark.parametrize("value", [-1, 10**9, MOST_LAYERS + 1, "2", True, 1.0, None, [2], {"a": 1}])
def test_a_count_that_no_model_has_is_unknown(value: Any) -> None:
    config = {**GLM, "num_hidden_layers": value}
    with pytest.raises(UnknownError, match="num_hidden_layers"):
        counts(known(config), context(config))


@pytest.mark.parametrize("value", [-1, 10**9, "2", True, 1.0, [2], {"a": 1}])
def test_a_count_of_mtp_layers_that_no_model_has_is_unknown(value: Any) -> None:
    config = {**GLM, "num_nextn_predict_layers": value}
    with pytest.raises(UnknownError):
        counts(known(config), context(config))


def test_the_largest_count_is_allowed() -> None:
    config = {**GLM, "num_hidden_layers": MOST_LAYERS}
    assert counts(known(config), context(config)) == (MOST_LAYERS, 1)


@pytest.mark.parametrize("value", [0, -1, 1 << 17, "2", True, 1.5, [2]])
def test_a_number_of_experts_that_no_model_has_is_unknown(value: Any) -> None:
    with pytest.raises(UnknownError):
        modules({**GLM, "n_routed_experts": value})


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (DEEPSEEK, "moe_layer_freq", 0),
        (DEEPSEEK, "first_k_dense_replace", "1"),
        (QWEN_NEXT, "decoder_sparse_step", 0),
        (QWEN_NEXT, "mlp_only_layers", 7),
        (QWEN_NEXT, "num_experts", "8"),
        (STEP, "moe_layers_enum", "a,b"),
        (ERNIE, "moe_layer_end_index", "x"),
        (LONGCAT, "num_layers", "x"),
    ],
)
def test_a_field_that_does_not_fit_is_unknown(config: Config, field: str, value: Any) -> None:
    with pytest.raises(UnknownError):
        modules({**config, field: value})


@pytest.mark.parametrize("value", ["1", [1], {"a": 1}])
def test_roots_of_a_count_that_is_no_number_are_unknown(value: Any) -> None:
    config = {**GLM, "num_nextn_predict_layers": value}
    with pytest.raises(MtpfixError):
        disk_roots(known(config), context(config))


@pytest.mark.parametrize("value", ["61", None, True, [1]])
def test_roots_behind_a_trunk_of_no_number_are_unknown(value: Any) -> None:
    config = {**GLM, "num_hidden_layers": value}
    with pytest.raises(MtpfixError):
        disk_roots(known(config), context(config))


def test_roots_of_very_many_layers_are_refused() -> None:
    config = {**GLM, "num_nextn_predict_layers": 100_000}
    with pytest.raises(MtpfixError):
        disk_roots(known(config), context(config))


def test_a_row_that_is_picked_by_a_field_that_does_not_fit_is_unknown() -> None:
    config = {"architectures": ["Qwen3_5ForCausalLM"], "num_experts": "8"}
    with pytest.raises(MtpfixError):
        first(known(config).record.draft_class, context(config))


def test_a_configuration_cannot_set_what_a_policy_derives() -> None:
    config = {**DEEPSEEK, "architectures": ["DeepseekV32ForCausalLM"], "index_topk": 64}
    plain = modules(config, release="0.24.0")
    assert modules({**config, "own_model_file": True}, release="0.24.0") == plain


def test_a_text_configuration_that_is_no_object_is_passed_over() -> None:
    config = {**QWEN, "text_config": [1], "num_hidden_layers": 2, "mtp_num_hidden_layers": 1}
    assert counts(known(config), context(config)) == (2, 1)


@pytest.mark.parametrize("family", policy.families())
def test_an_empty_configuration_is_unknown_and_no_crash(family: str) -> None:
    of_family = policy.policy(family)
    with pytest.raises(UnknownError):
        counts(of_family, construction.context(of_family, {}, "0.33.0", "cuda"))


@pytest.mark.parametrize(("algo", "asks"), [(None, True), ("NONE", True), ("BF16", False)])
def test_what_stands_in_a_block_that_does_not_ask_does_not_ask(
    algo: str | None, asks: bool
) -> None:
    config = {
        "architectures": ["HYV4ForCausalLM"],
        "num_hidden_layers": 2,
        "num_nextn_predict_layers": 1,
        "n_routed_experts": 2,
        "mtp_quant_algo": algo,
    }
    found = asked(modules(config, "draft"))
    assert ("model.layers.2.self_attn.o_proj" in found) is asks
    assert bool(found) is asks


@pytest.mark.parametrize("value", [None, True, [61], "x"])
def test_a_layer_without_a_number_is_an_error(value: Any) -> None:
    family = sglang.policy("glm4_moe")
    config = {**GLM, "num_hidden_layers": value}
    with pytest.raises(ExprError, match="number of"):
        construction.modules(family, construction.newest(family, config), "draft")
