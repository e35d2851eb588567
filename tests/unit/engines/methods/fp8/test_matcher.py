"""fp8: lists of exact names, as `is_layer_skipped` of each release compares them."""

from __future__ import annotations

from typing import Any

import pytest

from mtpfix.engines.vllm.name_mapper import in_force
from mtpfix.engines.vllm.predict import predict
from mtpfix.model import Decision, Part
from tests.unit.engines.small import (
    ALL,
    DEEPSEEK,
    GLM,
    NEWEST,
    Config,
    context,
    known,
    modules,
    view_of,
    with_fp8,
)

ATTN = "model.layers.2.self_attn"
MLP = "model.layers.2.mlp"
QKV = tuple(f"{ATTN}.{shard}_proj" for shard in "qkv")


def decisions(
    config: Config, *ignore: str, release: str = NEWEST, part: Part = "draft", **more: Any
) -> dict[str, Decision]:
    config = with_fp8(config, *ignore, **more)
    found = modules(config, part, release)
    made = predict(known(config), view_of(config), context(config, release), found)
    return {decision.module.name: decision for decision in made}


def built(name: str, *ignore: str, release: str = NEWEST) -> str:
    return decisions(GLM, *ignore, release=release)[name].built


def test_what_no_entry_exempts_is_quantized() -> None:
    found = decisions(GLM)
    assert found[f"{ATTN}.o_proj"].scheme == "Fp8LinearMethod"
    assert found[f"{MLP}.experts"].scheme == "Fp8MoEMethod"
    assert {found[f"{ATTN}.o_proj"].expects, found[f"{MLP}.experts"].expects} == {"fp8-block"}
    assert found["model.layers.2.head"].built == "unquantized"


def test_without_a_block_size_there_is_one_scale() -> None:
    found = decisions(GLM, weight_block_size=None)
    assert found[f"{ATTN}.o_proj"].expects == "fp8-tensor"


@pytest.mark.parametrize("release", ALL)
def test_all_shards_exempt_a_fused_layer_and_some_are_an_error(release: str) -> None:
    name = f"{ATTN}.qkv_proj"
    assert built(name, *QKV, release=release) == "unquantized"
    half = decisions(GLM, *QKV[:2], release=release)[name]
    assert (half.built, half.halved) == ("error", True)
    assert (half.error or "").startswith("ValueError: Detected some but not all shards of")


@pytest.mark.parametrize(
    ("release", "result"), [("0.23.0", "quantized"), ("0.24.0", "unquantized")]
)
def test_the_fused_name_counts_from_0_24(release: str, result: str) -> None:
    assert built(f"{ATTN}.qkv_proj", f"{ATTN}.qkv_proj", release=release) == result


@pytest.mark.parametrize("entry", ["mtp", "o_proj", "re:.*", "*", ATTN, "model.layers.2.", ""])
def test_only_the_whole_name_fits(entry: str) -> None:
    assert built(f"{ATTN}.o_proj", entry) == "quantized"


@pytest.mark.parametrize(
    ("entry", "result"),
    [
        (f"{MLP}.experts", "unquantized"),
        (f"{MLP}.experts.1.up_proj", "unquantized"),
        (f"x.{MLP}.experts", "unquantized"),
        (f"{MLP}.shared_experts.up_proj", "quantized"),
        ("experts", "quantized"),
    ],
)
def test_one_entry_that_holds_the_name_exempts_all_experts(entry: str, result: str) -> None:
    assert built(f"{MLP}.experts", entry) == result


def test_an_expert_s_entry_exempts_shared_experts_only_by_their_name() -> None:
    assert built(f"{MLP}.shared_experts.down_proj", f"{MLP}.experts") == "quantized"
    assert built(f"{MLP}.shared_experts.down_proj", f"{MLP}.shared_experts.down_proj") == (
        "unquantized"
    )


def test_mla_has_shards_of_other_names() -> None:
    fused = "fused_qkv_a_proj"
    found = decisions(DEEPSEEK, f"{ATTN}.q_a_proj", f"{ATTN}.kv_a_proj_with_mqa")
    assert found[f"{ATTN}.{fused}"].built == "unquantized"


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"activation_scheme": "x"}, "Unsupported activation scheme x"),
        ({"activation_scheme": None}, "Unsupported activation scheme None"),
        ({"weight_block_size": [128]}, "The quantization block size of weight must have 2"),
        ({"weight_block_size": []}, "The quantization block size of weight must have 2"),
        ({"activation_scheme": "static"}, "The block-wise quantization only supports dynamic"),
    ],
)
def test_metadata_that_is_refused_is_an_error_of_every_module(
    keys: dict[str, Any], error: str
) -> None:
    made = decisions(GLM, f"{ATTN}.o_proj", **keys).values()
    errors = {d.error or "" for d in made if d.module.asks}
    assert all(said.partition("…Value error, ")[2].startswith(error) for said in errors)


def test_a_block_size_that_is_no_list_is_refused_in_other_words() -> None:
    found = decisions(GLM, weight_block_size=128)[f"{ATTN}.o_proj"]
    assert found.error == "TypeError: object of type 'int' has no len()"


def test_without_an_activation_scheme_the_metadata_is_refused() -> None:
    config = with_fp8(GLM)
    del config["quantization_config"]["activation_scheme"]
    made = predict(known(config), view_of(config), context(config), modules(config))
    assert {d.built for d in made if d.module.asks} == {"error"}


@pytest.mark.parametrize(
    ("release", "scheme"), [("0.23.0", "Fp8MoEMethod"), ("0.24.0", "Mxfp4MoEMethod")]
)
def test_experts_may_be_stored_in_mxfp4_from_0_24(release: str, scheme: str) -> None:
    found = decisions(GLM, release=release, store_dtype="mxfp4")
    assert found[f"{MLP}.experts"].scheme == scheme
    assert found[f"{ATTN}.o_proj"].scheme == "Fp8LinearMethod"


# --- model classes that change the rules -------------------------------------------

LING: Config = {
    "architectures": ["BailingMoeV3ForCausalLM"],
    "model_type": "bailing_hybrid",
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 1,
    "first_k_dense_replace": 1,
    "num_experts": 2,
    "layer_group_size": 2,
}


def test_ling_compares_the_ends_of_names() -> None:
    found = decisions(LING, "eh_proj", "mlp.experts")
    assert found["model.layers.2.eh_proj"].built == "unquantized"
    assert found["model.layers.2.mlp.experts"].built == "unquantized"
    assert found["model.layers.2.self_attn.dense"].built == "quantized"


def test_ling_takes_no_expert_for_all() -> None:
    found = decisions(LING, "model.layers.2.mlp.experts.0.up_proj")
    assert found["model.layers.2.mlp.experts"].built == "quantized"


def test_ling_compares_whole_names_without_blocks() -> None:
    found = decisions(LING, "eh_proj", weight_block_size=None)
    assert found["model.layers.2.eh_proj"].built == "quantized"


def test_ling_builds_an_exempt_projection_apart() -> None:
    merged = decisions(LING, part="trunk")
    assert "model.layers.0.self_attn.qkvb_proj" in merged
    apart = decisions(LING, "b_proj", part="trunk")
    assert apart["model.layers.0.self_attn.b_proj"].built == "unquantized"
    assert apart["model.layers.0.self_attn.qkv_proj"].built == "quantized"
    assert "model.layers.0.self_attn.qkvb_proj" not in apart


HY_V4: Config = {
    "architectures": ["HYV4ForCausalLM"],
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 1,
    "n_routed_experts": 2,
}


def texts(config: Config, *ignore: str) -> list[str]:
    """The draft's list, as it is in force."""
    config = with_fp8(config, *ignore)
    view = in_force(view_of(config), known(config), context(config), "draft")
    return [entry.text for entry in view.ignore]


def test_hy_v4_adds_its_own_spelling() -> None:
    disk = "model.mtp_layers.0.self_attn.o_proj"
    assert texts(HY_V4, disk, "lm_head") == [disk, "lm_head", f"{ATTN}.o_proj"]


def test_hy_v4_reads_the_list_for_a_draft_in_fp8() -> None:
    config = {**HY_V4, "mtp_quant_algo": "FP8"}
    found = decisions(config, f"{ATTN}.o_proj")
    assert found[f"{ATTN}.o_proj"].built == "unquantized"
    assert found[f"{MLP}.experts"].scheme == "Fp8MoEMethod"


QWEN4: Config = {
    "architectures": ["Qwen4ExpForCausalLM"],
    "num_hidden_layers": 2,
    "mtp_num_hidden_layers": 1,
}


def test_qwen4_counts_the_draft_s_layers_from_the_trunk_s_end() -> None:
    """An entry in the draft's own spelling is counted on, too, and lost."""
    entries = ("mtp.layers.0.mlp.experts", "mtp.layers.2.mlp.experts", "model.layers.0.x", "mtp.fc")
    counted = ["mtp.layers.2.mlp.experts", "mtp.layers.4.mlp.experts", "model.layers.0.x", "mtp.fc"]
    assert texts(QWEN4, *entries) == counted


def test_the_draft_of_nemotron_with_a_wrapper_finds_no_metadata() -> None:
    """It is quantized while it is loaded, from unquantized weights."""
    config = {
        "architectures": ["NemotronH_Omni_Reasoning_V3"],
        "text_config": {
            "hybrid_override_pattern": "M*",
            "num_nextn_predict_layers": 1,
            "n_routed_experts": 2,
        },
    }
    found = decisions(config, "mtp.layers.0.mixer.o_proj")["mtp.layers.0.mixer.o_proj"]
    assert (found.scheme, found.expects) == ("Fp8PerTensorOnlineLinearMethod", "unquantized")


def test_blocks_have_a_size() -> None:
    assert decisions(GLM, weight_block_size=[128, 64])[f"{ATTN}.o_proj"].block == (128, 64)
    assert decisions(GLM, weight_block_size=None)[f"{ATTN}.o_proj"].block is None
