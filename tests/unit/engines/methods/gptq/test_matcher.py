"""GPTQ: what the list names is quantized, unless a rule skips it; the first rule decides."""

from __future__ import annotations

from typing import Any

import pytest

from mtpfix.engines.policies import construction
from mtpfix.engines.vllm.predict import predict
from mtpfix.model import Decision
from tests.unit.engines.small import GLM, NEWEST, Config, known, modules, view_of

ATTN = "model.layers.2.self_attn"
QKV = f"{ATTN}.qkv_proj"
EXPERTS = "model.layers.2.mlp.experts"
BLOCKS = [["self_attn"], ["mlp"]]


def gptq(config: Config, **more: Any) -> Config:
    """A configuration with GPTQ for attention and MLP."""
    own = {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": 128,
        "desc_act": False,
        "sym": True,
        "modules_in_block_to_quantize": BLOCKS,
        **more,
    }
    return {**config, "quantization_config": own}


def decisions(release: str = NEWEST, **more: Any) -> dict[str, Decision]:
    config = gptq(GLM, **more)
    context = construction.context(known(config), config, release, "cuda", "gptq")
    found = predict(known(config), view_of(config), context, modules(config, "draft", release))
    return {decision.module.name: decision for decision in found}


def test_what_the_list_names_is_quantized() -> None:
    found = decisions(modules_in_block_to_quantize=["self_attn"])
    assert found[QKV].built == "quantized"
    assert found["model.layers.2.mlp.shared_experts.down_proj"].built == "unquantized"


def test_experts_are_quantized_whatever_the_list_says() -> None:
    assert decisions(modules_in_block_to_quantize=["self_attn"])[EXPERTS].built == "quantized"


@pytest.mark.parametrize(
    ("release", "classes"),
    [
        ("0.21.0", ("GPTQMarlinLinearMethod", "GPTQMarlinMoEMethod")),
        ("0.22.1", ("AutoGPTQLinearMethod", "AutoGPTQMoEMethod")),
    ],
)
def test_the_classes_were_renamed(release: str, classes: tuple[str, str]) -> None:
    found = decisions(release)
    assert (found[QKV].scheme, found[EXPERTS].scheme) == classes


@pytest.mark.parametrize(("release", "built"), [("0.31.0", "unquantized"), ("0.32.0", "quantized")])
@pytest.mark.parametrize("empty", [[], None, [[]]])
def test_an_empty_list_is_everything_since_0_32(release: str, built: str, empty: Any) -> None:
    assert decisions(release, modules_in_block_to_quantize=empty)[QKV].built == built


def test_a_list_of_some_shards_is_an_error_whatever_the_rules_say() -> None:
    found = decisions(modules_in_block_to_quantize=["q_proj"], dynamic={"-:.*": {}})
    assert found[QKV].built == "error"
    assert (found[QKV].error or "").startswith("ValueError: Detected some but not all shards")


@pytest.mark.parametrize(
    ("rules", "built", "key"),
    [
        ({"-:.*": {}}, "unquantized", "-:.*"),
        ({"-:.*": {}, "+:.*": {"bits": 8}}, "unquantized", "-:.*"),
        ({"+:.*": {"bits": 8}, "-:.*": {}}, "quantized", "+:.*"),
        ({"model": {}, "-:.*": {}}, "quantized", "model"),
        ({"+:.*": False}, "unquantized", "+:.*"),
        ({"-:self_attn": {}}, "quantized", None),
        ({"-:.*q_proj": {}}, "quantized", None),
        ({"+:.*": {"bits": 3}}, "error", "+:.*"),
        ({"+:.*": {"bits": 0}}, "error", "+:.*"),
        ({"+:.*": {"bits": "3"}}, "quantized", "+:.*"),
        ({"+:.*": {"group_size": 16}}, "error", "+:.*"),
        ({"+:.*": None}, "error", "+:.*"),
        ({"+:.*": [1]}, "error", "+:.*"),
        ({"-:(": {}}, "error", "-:("),
        ({"-:.*": {}, "-:(": {}}, "unquantized", "-:.*"),
    ],
)
def test_the_first_rule_that_fits_decides(rules: Any, built: str, key: str | None) -> None:
    decision = decisions(dynamic=rules)[QKV]
    assert decision.built == built
    assert (decision.because and decision.because.spelling) == key


def test_a_rule_keeps_experts_unquantized() -> None:
    decision = decisions(dynamic={r"-:.*layers\.2\.": {}})[EXPERTS]
    assert decision.built == "unquantized"
    assert decision.because is not None
    assert decision.because.pointer == r"/quantization_config/dynamic/-:.*layers\.2\."


def test_heads_are_asked_where_the_metadata_says_so() -> None:
    asked = decisions(lm_head=True, modules_in_block_to_quantize=["head"])
    assert asked["model.layers.2.head"].built == "quantized"
    assert decisions()["model.layers.2.head"].built == "unquantized"


@pytest.mark.parametrize(
    ("release", "more", "error"),
    [
        ("0.29.0", {"desc_act": True}, None),
        ("0.30.0", {"desc_act": True}, "ValidationError"),
        ("0.30.0", {"desc_act": True, "group_size": -1}, None),
        ("0.30.0", {"dynamic": {"+:x": {"desc_act": True}}}, "ValidationError"),
        ("0.30.0", {"dynamic": {"-:x": {"desc_act": True}}}, None),
        ("0.30.0", {"dynamic": {"+:x": {"desc_act": True, "group_size": -1}}}, None),
        ("0.22.1", {"sym": False}, "ValidationError"),
        ("0.22.1", {"bits": 3}, "ValidationError"),
        ("0.21.0", {"bits": 3}, None),
    ],
)
def test_what_cannot_be_read_is_refused_as_a_whole(
    release: str, more: dict[str, Any], error: str | None
) -> None:
    found = {decision.error for decision in decisions(release, **more).values()}
    kinds = {None if text is None else text.partition(":")[0] for text in found}
    assert error in kinds
    assert (error is None) == (kinds == {None})


@pytest.mark.parametrize("key", ["bits", "group_size", "desc_act", "sym"])
def test_a_key_that_is_missing_is_refused(key: str) -> None:
    config = gptq(GLM)
    del config["quantization_config"][key]
    context = construction.context(known(config), config, NEWEST, "cuda", "gptq")
    found = predict(known(config), view_of(config), context, modules(config, "draft"))
    errors = [d.error for d in found if d.error is not None]
    assert errors
    assert all("Value error, Cannot find any of" in error for error in errors)


# --- rules that a draft class looks for itself -------------------------------

QWEN: Config = {
    "architectures": ["Qwen3_5ForConditionalGeneration"],
    "model_type": "qwen3_5",
    "text_config": {
        "num_hidden_layers": 2,
        "mtp_num_hidden_layers": 1,
        "full_attention_interval": 2,
    },
}


def of_qwen(release: str, dynamic: Any) -> dict[str, Decision]:
    config = gptq(QWEN, dynamic=dynamic)
    context = construction.context(known(config), config, release, "cuda", "gptq")
    found = predict(known(config), view_of(config), context, modules(config, "draft", release))
    return {decision.module.name: decision for decision in found}


@pytest.mark.parametrize(("release", "built"), [("0.26.0", "quantized"), ("0.27.1", "unquantized")])
def test_a_rule_that_holds_mtp_spares_every_mtp_layer_of_qwen(release: str, built: str) -> None:
    decision = of_qwen(release, {"-:nothing.mtp": {}})["mtp.layers.0.mlp.down_proj"]
    assert decision.built == built
    assert decision.module.asks == (built == "quantized")


@pytest.mark.parametrize("key", ["+:mtp", "mtp", "-:MTP", "-:model"])
def test_no_other_rule_spares_them(key: str) -> None:
    assert of_qwen("0.32.0", {key: {}})["mtp.layers.0.mlp.down_proj"].built == "quantized"


def test_the_layer_before_them_is_asked_all_the_same() -> None:
    found = of_qwen("0.32.0", {"-:nothing.mtp": {}})
    assert found["mtp.fc"].module.asks


def test_null_in_the_place_of_rules_is_an_exception() -> None:
    decision = of_qwen("0.32.0", None)["mtp.layers.0.mlp.down_proj"]
    assert (decision.error or "").startswith("TypeError")


def test_no_rule_reaches_experts_that_marlin_does_not_take() -> None:
    config = gptq({**GLM, "moe_intermediate_size": 192}, dynamic={"-:.*experts": {}})
    context = construction.context(known(config), config, NEWEST, "cuda", "gptq")
    found = predict(known(config), view_of(config), context, modules(config, "draft"))
    made = next(decision for decision in found if decision.module.kind == "experts")
    assert (made.built, made.scheme) == ("quantized", "MoeWNA16Method")


def test_rules_change_bits_and_group_size() -> None:
    rules = {"+:.*self_attn": {"bits": 8, "group_size": 32}, "+:.*experts$": {"group_size": -1}}
    found = decisions(dynamic=rules)
    assert found[QKV].packing == (8, 32)
    assert found[EXPERTS].packing == (4, -1)
    assert found["model.layers.2.mlp.shared_experts.down_proj"].packing == (4, 128)


def test_experts_that_fall_back_know_no_rules() -> None:
    found = decisions(group_size=16, dynamic={"+:.*": {"bits": 8, "group_size": 32}})
    assert found[EXPERTS].scheme == "MoeWNA16Method"
    assert found[EXPERTS].packing == (4, 16)
