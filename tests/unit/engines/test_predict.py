"""The dry run: what is built, and the entry that decided."""

from __future__ import annotations

from typing import Any

import pytest

from mtpfix.engines.vllm.predict import asked_names, packed_mapping, predict
from mtpfix.model import Decision, Part
from tests.unit.engines.small import (
    ALL,
    DEEPSEEK,
    DEEPSEEK_V4,
    FP8,
    GLM,
    MIMO,
    NEWEST,
    QWEN_NEXT,
    STEP5,
    Config,
    context,
    known,
    modules,
    view_of,
    with_list,
)

ATTN = "model.layers.2.self_attn"
MLP = "model.layers.2.mlp"


def decisions(
    config: Config, *ignore: str, release: str = NEWEST, part: Part = "draft", **more: Any
) -> dict[str, Decision]:
    config = with_list(config, ignore, **more)
    found = predict(
        known(config), view_of(config), context(config, release), modules(config, part, release)
    )
    return {decision.module.name: decision for decision in found}


def built(config: Config, name: str, *ignore: str, release: str = NEWEST, **more: Any) -> str:
    return decisions(config, *ignore, release=release, **more)[name].built


# --- the ignore list ---------------------------------------------------------


def test_a_linear_layer_that_nothing_exempts_is_quantized() -> None:
    decision = decisions(GLM)[f"{ATTN}.qkv_proj"]
    assert (decision.built, decision.scheme) == ("quantized", "CompressedTensorsW8A8Fp8")
    assert decision.expects == "fp8-channel"


def test_the_target_that_decided_is_named_with_its_place() -> None:
    because = decisions(GLM)[f"{ATTN}.qkv_proj"].because
    assert because is not None
    assert because.pointer == "/quantization_config/config_groups/group_0/targets/0"


def test_the_entry_that_exempts_is_named_with_its_place() -> None:
    decision = decisions(GLM, "lm_head", f"{ATTN}.o_proj")[f"{ATTN}.o_proj"]
    assert decision.built == "unquantized"
    assert decision.because is not None
    assert decision.because.pointer == "/quantization_config/ignore/1"


def test_one_pattern_on_the_block_exempts_all_of_it() -> None:
    found = decisions(GLM, r"re:^model\.layers\.2\..*")
    assert {decision.built for decision in found.values()} == {"unquantized"}


def test_a_module_that_is_not_asked_is_never_quantized() -> None:
    decision = next(d for d in decisions(GLM).values() if not d.module.asks)
    assert (decision.built, decision.because) == ("unquantized", None)


def test_a_head_is_not_linear() -> None:
    assert built(GLM, "model.layers.2.head") == "unquantized"


def test_the_checkpoint_s_spelling_misses_a_draft_that_is_renumbered() -> None:
    entry = "model.mtp_layers.0.self_attn.o_proj"
    assert built(MIMO, f"{ATTN}.o_proj", entry) == "quantized"
    assert built(MIMO, f"{ATTN}.o_proj", f"{ATTN}.o_proj") == "unquantized"


def test_an_empty_name_needs_a_pattern_for_nothing() -> None:
    assert built(DEEPSEEK_V4, "", r"re:^model\.layers\.2\..*", release="0.23.0") == "quantized"
    assert built(DEEPSEEK_V4, "", "re:^$", release="0.23.0") == "unquantized"


@pytest.mark.parametrize("release", ALL)
def test_half_a_list_is_an_error_in_every_release(release: str) -> None:
    decision = decisions(GLM, f"{ATTN}.q_proj", release=release)[f"{ATTN}.qkv_proj"]
    assert decision.built == "error"
    assert (decision.error or "").startswith("ValueError: Found")


def test_the_wrong_mapping_of_qwen_next_bites_up_to_0_24() -> None:
    name = "mtp.layers.0.mlp.shared_expert.gate_up_proj"
    texts = [name.replace("gate_up", shard) for shard in ("gate", "up")]
    assert built(QWEN_NEXT, name, *texts, release="0.24.0") == "error"
    assert built(QWEN_NEXT, name, *texts, release="0.25.1") == "unquantized"


def test_deepseek_v4_had_no_mapping_up_to_0_28() -> None:
    name = "model.layers.2.attn.fused_wqa_wkv"
    texts = ["model.layers.2.attn.wq_a", "model.layers.2.attn.wkv"]
    assert built(DEEPSEEK_V4, name, *texts, release="0.28.0") == "quantized"
    assert built(DEEPSEEK_V4, name, *texts, release="0.29.0") == "unquantized"


# --- experts -----------------------------------------------------------------


def test_the_name_of_the_experts_exempts_nothing() -> None:
    assert built(GLM, f"{MLP}.experts", f"{MLP}.experts") == "quantized"


def test_expert_0_exempts_all() -> None:
    texts = [f"{MLP}.experts.0.{p}" for p in ("gate_proj", "up_proj", "down_proj")]
    assert built(GLM, f"{MLP}.experts", *texts) == "unquantized"


def test_expert_1_exempts_nothing() -> None:
    texts = [f"{MLP}.experts.1.{p}" for p in ("gate_proj", "up_proj", "down_proj")]
    assert built(GLM, f"{MLP}.experts", *texts) == "quantized"


def test_a_part_of_expert_0_is_an_error() -> None:
    decision = decisions(GLM, f"{MLP}.experts.0.up_proj")[f"{MLP}.experts"]
    assert decision.built == "error"
    assert (decision.error or "").startswith("ValueError: All MoE projections need")


@pytest.mark.parametrize(
    ("release", "names"),
    [("0.31.0", ("gate_proj", "up_proj", "down_proj")), ("0.32.0", ("w1", "w3", "w2"))],
)
def test_the_probe_of_deepseek_v4(release: str, names: tuple[str, ...]) -> None:
    texts = [f"model.layers.2.ffn.experts.0.{name}" for name in names]
    assert (
        built(DEEPSEEK_V4, "model.layers.2.ffn.experts", *texts, release=release) == "unquantized"
    )


@pytest.mark.parametrize(
    ("release", "target"), [("0.23.0", "FusedMoE"), ("0.24.0", "RoutedExperts")]
)
def test_experts_take_the_scheme_of_linear(release: str, target: str) -> None:
    decision = decisions(GLM, release=release)[f"{MLP}.experts"]
    assert decision.because is not None
    assert (decision.because.text, decision.because.spelling) == (target, "Linear")


def test_without_linear_experts_fall_under_no_target() -> None:
    groups = {"g": {"targets": ["re:.*self_attn.*"], **FP8}}
    assert built(GLM, f"{MLP}.experts", config_groups=groups) == "unquantized"


@pytest.mark.parametrize(
    ("release", "result"), [("0.23.0", "quantized"), ("0.24.0", "unquantized")]
)
def test_a_target_by_the_old_class_name_stopped_matching(release: str, result: str) -> None:
    groups = {"g": {"targets": ["FusedMoE"], **FP8}}
    assert built(GLM, f"{MLP}.experts", config_groups=groups, release=release) == result


# --- targets and groups ------------------------------------------------------


@pytest.mark.parametrize(("release", "result"), [("0.20.2", "error"), ("0.21.0", "unquantized")])
def test_no_target_was_an_error_up_to_0_20(release: str, result: str) -> None:
    groups = {"g": {"targets": ["re:nothing"], **FP8}}
    assert built(GLM, f"{ATTN}.o_proj", release=release, config_groups=groups) == result


def test_a_head_swallows_the_error_of_no_target() -> None:
    groups = {"g": {"targets": ["re:nothing"], **FP8}}
    name = "model.layers.2.head"
    assert built(GLM, name, release="0.20.2", config_groups=groups) == "unquantized"


@pytest.mark.parametrize("groups", [{}])
def test_without_groups_nothing_is_quantized(groups: Any) -> None:
    found = decisions(GLM, config_groups=groups)
    assert {decision.built for decision in found.values()} == {"unquantized"}


def test_the_first_group_that_matches_counts() -> None:
    int8 = {
        "weights": {"num_bits": 8, "type": "int", "strategy": "channel"},
        "input_activations": {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True},
        "format": "int-quantized",
    }
    groups = {"a": {"targets": ["re:.*o_proj"], **int8}, "b": {"targets": ["Linear"], **FP8}}
    found = decisions(GLM, config_groups=groups)
    assert found[f"{ATTN}.o_proj"].scheme == "CompressedTensorsW8A8Int8"
    assert found[f"{ATTN}.qkv_proj"].scheme == "CompressedTensorsW8A8Fp8"


def test_a_target_named_twice_has_the_later_group() -> None:
    int8 = {
        "weights": {"num_bits": 8, "type": "int", "strategy": "channel"},
        "input_activations": {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True},
        "format": "int-quantized",
    }
    groups = {"a": {"targets": ["Linear"], **FP8}, "b": {"targets": ["Linear"], **int8}}
    found = decisions(GLM, config_groups=groups)[f"{ATTN}.o_proj"]
    assert found.scheme == "CompressedTensorsW8A8Int8"


def test_a_head_with_a_target_is_quantized() -> None:
    groups = {"g": {"targets": ["Linear", "re:.*head$"], **FP8}}
    assert built(GLM, "model.layers.2.head", config_groups=groups) == "quantized"


@pytest.mark.parametrize(("release", "result"), [("0.22.1", "unquantized"), ("0.23.0", "error")])
def test_an_embedding_is_asked_from_0_23(release: str, result: str) -> None:
    groups = {"g": {"targets": ["VocabParallelEmbedding"], **FP8}}
    found = decisions(MIMO, release=release, part="trunk", config_groups=groups)
    assert found["model.embed_tokens"].built == result


def test_a_scheme_that_the_engine_lacks_is_an_error_of_the_module() -> None:
    decision = decisions(GLM, format="dense")[f"{ATTN}.o_proj"]
    assert decision.built == "error"
    assert (decision.error or "").startswith("NotImplementedError: ")


# --- broken lists ------------------------------------------------------------


def test_an_invalid_pattern_fails_every_module_with_the_entry() -> None:
    found = decisions(GLM, "lm_head", "re:*")
    asked = [decision for decision in found.values() if decision.module.asks]
    assert {decision.built for decision in asked} == {"error"}
    assert {d.because.text for d in asked if d.because is not None} == {"re:*"}


def test_an_invalid_target_fails_every_module() -> None:
    groups = {"g": {"targets": ["re:("], **FP8}}
    assert built(GLM, f"{ATTN}.o_proj", config_groups=groups) == "error"


def test_an_invalid_target_is_no_matter_for_a_module_that_is_exempt() -> None:
    groups = {"g": {"targets": ["re:("], **FP8}}
    assert built(GLM, f"{ATTN}.o_proj", f"{ATTN}.o_proj", config_groups=groups) == "unquantized"


def test_a_list_that_is_null_is_an_error_in_the_engine() -> None:
    """Run on 0.32.0: TypeError: 'NoneType' object is not iterable."""
    config = with_list(GLM, None)
    found = predict(known(config), view_of(config), context(config), modules(config))
    assert {d.built for d in found if d.module.asks} == {"error"}


# --- names -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        (f"{ATTN}.o_proj", (f"{ATTN}.o_proj",)),
        (
            f"{ATTN}.qkv_proj",
            (f"{ATTN}.qkv_proj", f"{ATTN}.q_proj", f"{ATTN}.k_proj", f"{ATTN}.v_proj"),
        ),
        (
            f"{MLP}.experts",
            tuple(f"{MLP}.experts.0.{p}" for p in ("gate_proj", "up_proj", "down_proj")),
        ),
    ],
)
def test_the_names_that_are_compared(name: str, asked: tuple[str, ...]) -> None:
    module = next(m for m in modules(GLM) if m.name == name)
    packed = packed_mapping(known(GLM), context(GLM), "draft")
    assert asked_names(module, packed, "compressed-tensors") == asked


def test_of_a_module_that_is_not_asked_no_name_is_compared() -> None:
    module = next(m for m in modules(GLM) if not m.asks)
    assert asked_names(module, {}, "compressed-tensors") == ()


@pytest.mark.parametrize(
    ("config", "has"), [(DEEPSEEK, True), ({**DEEPSEEK, "q_lora_rank": None}, False)]
)
def test_the_mapping_has_the_fused_projection_with_q_lora_only(config: Config, has: bool) -> None:
    packed = packed_mapping(known(config), context(config), "draft")
    assert ("fused_qkv_a_proj" in packed) is has


def test_trunk_and_draft_can_be_under_different_mappings() -> None:
    policy, old = known(QWEN_NEXT), context(QWEN_NEXT, "0.24.0")
    assert packed_mapping(policy, old, "trunk")["gate_up_proj"] == ["gate_proj", "up_proj"]
    assert packed_mapping(policy, old, "draft")["gate_up_proj"] == ["up_proj", "down_proj"]


def test_a_draft_with_a_configuration_of_its_own_is_not_mapped() -> None:
    config = {
        "architectures": ["Step3p5ForCausalLM"],
        "num_hidden_layers": 2,
        "num_nextn_predict_layers": 1,
        "moe_num_experts": 2,
        "moe_layers_enum": "1,2",
    }
    name = "model.layers.2.mtp_block.moe.share_expert.down_proj"
    entry = "model.layers.2.mtp_block.share_expert.down_proj"
    assert built(config, name, entry, release="0.30.0") == "unquantized"  # mapped: `.moe.` added
    assert built(config, name, entry, release="0.32.0") == "quantized"


HY_V4 = {
    "architectures": ["HYV4ForCausalLM"],
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 1,
    "n_routed_experts": 2,
}


def test_a_draft_with_a_method_of_its_own_reads_no_metadata() -> None:
    found = decisions({**HY_V4, "mtp_quant_algo": "FP8"}, "re:.*")
    decided = {name: (d.built, d.scheme, d.expects) for name, d in found.items()}
    assert decided[f"{ATTN}.o_proj"] == ("quantized", "Fp8LinearMethod", "fp8-tensor")
    assert decided[f"{MLP}.experts"] == ("quantized", "Fp8MoEMethod", "fp8-tensor")
    assert decided["lm_head"] == ("unquantized", None, "unquantized")


def test_the_trunk_of_such_a_draft_reads_the_metadata() -> None:
    found = decisions({**HY_V4, "mtp_quant_algo": "FP8"}, "re:.*", part="trunk")
    assert {decision.built for decision in found.values()} == {"unquantized"}


# --- modules that hang on a decision -------------------------------------------


STEP = "model.layers.2.mtp_block.self_attn"
EXEMPT = ("re:.*self_attn.*",)


def classes(*ignore: str) -> list[str]:
    """Classes of the draft's attention, in the order of construction."""
    config = with_list(STEP5, ignore)
    found = predict(known(config), view_of(config), context(config), modules(config))
    return [d.module.cls for d in found if "self_attn" in d.module.name]


def test_projections_are_merged_where_none_of_them_is_quantized() -> None:
    merged = ["LinearBase", "LinearBase", "MergedColumnParallelLinear", "RowParallelLinear"]
    assert classes(*EXEMPT) == merged


def test_projections_stay_apart_where_one_of_them_is_quantized() -> None:
    apart = ["QKVParallelLinear", "RowParallelLinear", "ColumnParallelLinear"]
    assert classes() == ["LinearBase", *apart]
    assert classes(f"{STEP}.qkv_proj") == ["LinearBase", "LinearBase", *apart]


def test_a_class_that_cannot_be_quantized_raises() -> None:
    full = "model.layers.0.self_attn.qkv_indexer_proj"
    decision = decisions(STEP5, part="trunk")[full]
    assert decision.built == "error"
    assert f"cannot be quantized, but {full}.weight resolved" in str(decision.error)
    assert decisions(STEP5, *EXEMPT, part="trunk")[full].built == "unquantized"
