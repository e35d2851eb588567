"""One release judged: the outcome, and the exception that comes first."""

from __future__ import annotations

import pytest

from mtpfix.analysis import without_quiet_trunk
from mtpfix.checkpoint.inventory import Inventory
from mtpfix.engines.absence import absent_layers
from mtpfix.engines.vllm.case import Case, report
from mtpfix.model import Checkpoint, EngineReport, Listing, Target, Tensor
from tests.unit.engines.small import (
    DEEPSEEK,
    DEEPSEEK_V4,
    GLM,
    MIMO,
    NEWEST,
    QWEN_NEXT,
    Config,
    Tensors,
    case,
    context,
    known,
    tensors,
    view_of,
    with_list,
)

BLOCK = r"re:^model\.layers\.2\..*"
ALL_DRAFT = ("_proj", "wq_a", "wkv", "wq_b", "wo_a", "wo_b", "w1", "w2", "w3")


def verdict(
    config: Config,
    ignore: tuple[str, ...] = (),
    found: Tensors | None = None,
    release: str = NEWEST,
) -> EngineReport:
    config = with_list(config, ignore)
    return report(case(config, found, release), view_of(config))


# --- outcomes ----------------------------------------------------------------


def test_a_block_that_is_exempt_and_unquantized_is_clean() -> None:
    found = verdict(GLM, (BLOCK,))
    assert (found.outcome, found.error, found.reason) == ("clean", None, None)


def test_a_block_that_is_quantized_and_covered_is_clean() -> None:
    config = with_list(GLM)
    assert verdict(GLM, (), tensors(config, ALL_DRAFT)).outcome == "clean"


def test_a_block_that_is_unquantized_and_covered_is_silent_garbage() -> None:
    found = verdict(GLM)
    assert (found.outcome, found.error) == ("silent_garbage", None)


def test_a_block_that_is_quantized_and_exempt_fails_to_load() -> None:
    config = with_list(GLM)
    found = verdict(GLM, (BLOCK,), tensors(config, ALL_DRAFT))
    assert found.outcome == "load_error"
    assert (found.error or "").startswith("KeyError: ")


def test_without_mtp_layers_there_is_no_draft() -> None:
    config = {**GLM, "num_nextn_predict_layers": 0}
    assert verdict(config).outcome == "no_mtp"


def test_the_report_names_release_platform_and_engine() -> None:
    found = verdict(GLM, (BLOCK,), None, "0.29.0")
    assert (found.engine, found.version, found.platform) == ("vllm", "0.29.0", "cuda")


def test_absent_weights_are_refused_by_deepseek() -> None:
    config = with_list(DEEPSEEK, (BLOCK,))
    trunk = {n: e for n, e in tensors(config).items() if not n.startswith("model.layers.2.")}
    found = verdict(DEEPSEEK, (BLOCK,), trunk)
    assert (found.outcome, found.error) == (
        "load_error",
        "ValueError: MTP speculative decoding layer 2 weights missing from checkpoint",
    )


def test_absent_weights_of_qwen_are_silent_garbage() -> None:
    config = with_list(QWEN_NEXT)
    trunk = {n: e for n, e in tensors(config).items() if not n.startswith("mtp.")}
    assert verdict(QWEN_NEXT, (), trunk).outcome == "silent_garbage"


def test_the_wrong_trunk_is_a_failure_too() -> None:
    found = verdict(GLM, (BLOCK, "model.layers.0.self_attn.o_proj"))
    assert found.outcome == "load_error"


# --- which exception comes first ---------------------------------------------


def test_building_comes_before_loading() -> None:
    ignore = ("model.layers.2.self_attn.q_proj", "model.layers.0.self_attn.o_proj")
    found = verdict(GLM, ignore)
    assert (found.error or "").startswith("ValueError: Found different quantization schemes")


def test_building_the_trunk_comes_before_building_the_draft() -> None:
    ignore = ("model.layers.2.self_attn.q_proj", "model.layers.1.self_attn.q_proj")
    assert "model.layers.1.self_attn" in (verdict(GLM, ignore).error or "")


def test_modules_are_built_in_their_order() -> None:
    ignore = ("model.layers.2.mlp.experts.0.up_proj", "model.layers.2.self_attn.q_proj")
    assert "self_attn.qkv_proj" in (verdict(GLM, ignore).error or "")


def test_the_trunk_is_loaded_before_the_draft() -> None:
    config = with_list(GLM)
    ignore = (BLOCK, "model.layers.0.self_attn.o_proj")
    found = verdict(GLM, ignore, tensors(config, ALL_DRAFT))
    assert found.error == (
        "ValueError: There is no module or parameter named "
        "'layers.0.self_attn.o_proj.weight_scale' in Glm4MoeModel"
    )


def test_of_the_draft_the_tensor_that_is_read_first_fails() -> None:
    config = with_list(GLM)
    found = verdict(GLM, (BLOCK,), tensors(config, ("down_proj", "o_proj")))
    assert found.error == (
        "KeyError: 'model.layers.2.mtp_block.mlp.experts.routed_experts.w2_weight_scale'"
    )


def _sharded(shards: dict[str, Tensors]) -> Inventory:
    headers = {
        shard: {name: Tensor(dtype, shape, 0, 0) for name, (dtype, shape) in found.items()}
        for shard, found in shards.items()
    }
    where = {name: shard for shard, found in shards.items() for name in found}
    listing = Listing(Target("local", "x"), tuple(shards), {}, where, "index")
    return Inventory(Checkpoint(listing, headers))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("model-2.safetensors", "model-10.safetensors"),
        ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        ("a.safetensors", "b.safetensors"),
    ],
)
def test_shards_are_read_by_number(first: str, second: str) -> None:
    inventory = _sharded(
        {first: {"z.weight": ("BF16", (1,))}, second: {"a.weight": ("BF16", (1,))}}
    )
    assert inventory.load_order("z.weight") < inventory.load_order("a.weight")


def test_a_file_name_with_a_strange_digit_is_no_crash() -> None:
    inventory = _sharded({"1²1.safetensors": {"a.weight": ("BF16", (1,))}})
    inventory.load_order("a.weight")


# --- limits ------------------------------------------------------------------


@pytest.mark.parametrize(("release", "limited"), [("0.29.0", True), ("0.30.0", False)])
def test_an_unquantized_wo_a_has_no_remedy_up_to_0_29(release: str, limited: bool) -> None:
    found = verdict(DEEPSEEK_V4, (BLOCK, "re:^$"), None, release)
    wo_a = next(r for r in found.modules if r.decision.module.name.endswith("2.attn.wo_a"))
    assert (wo_a.limit is not None) is limited
    assert found.outcome == ("load_error" if limited else "clean")


def test_a_limit_holds_on_its_platform_only() -> None:
    config = with_list(DEEPSEEK_V4, (BLOCK, "re:^$"))
    found = report(case(config, None, "0.29.0", "rocm"), view_of(config))
    assert all(r.limit is None for r in found.modules)


def test_a_limit_does_not_touch_the_trunk() -> None:
    config = with_list(DEEPSEEK_V4)
    found = verdict(DEEPSEEK_V4, ("re:.*",), tensors(config, drop=()), "0.29.0")
    assert {r.decision.module.part for r in found.modules if r.limit is not None} == {"draft"}


MIMO_V2: Config = {
    "architectures": ["MiMoV2ForCausalLM"],
    "model_type": "mimo_v2",
    "num_hidden_layers": 2,
    "moe_layer_freq": 1,
}
ATTN = "model.mtp.layers.0.self_attn"


@pytest.mark.parametrize(
    ("name", "dtype", "limited"),
    [
        (f"{ATTN}.qkv_proj", "F8_E4M3", True),
        (f"{ATTN}.q_proj", "F8_E4M3", False),  # stored in another way
        (f"{ATTN}.qkv_proj", "I8", False),  # in another format
        (f"{ATTN}.qkv_proj", "BF16", False),
    ],
)
def test_a_limit_may_speak_of_how_a_module_is_stored(name: str, dtype: str, limited: bool) -> None:
    found = tensors(MIMO_V2, drop=("q_proj", "k_proj", "v_proj"))
    found[f"{name}.weight"] = (dtype, (8, 8))
    if dtype != "BF16":
        found[f"{name}.weight_scale"] = ("BF16", (8, 1))
    modules = verdict(MIMO_V2, (), found, "0.31.0").modules
    qkv = next(r for r in modules if r.decision.module.name == f"{ATTN}.qkv_proj")
    assert (qkv.limit is not None) is limited


LONGCAT: Config = {"architectures": ["LongcatFlashForCausalLM"], "model_type": "longcat_flash"}


@pytest.mark.parametrize(
    ("suffix", "limited"), [("weight_scale", True), ("weight_scale_inv", False)]
)
def test_a_limit_may_let_tensors_pass(suffix: str, limited: bool) -> None:
    found = tensors({**LONGCAT, "num_layers": 1, "num_nextn_predict_layers": 1})
    found["model.mtp.layers.0.eh_proj.weight"] = ("F8_E4M3", (8, 8))
    found[f"model.mtp.layers.0.eh_proj.{suffix}"] = ("F32", (1, 1))
    modules = verdict({**LONGCAT, "num_layers": 1}, (), found, "0.32.0").modules
    eh_proj = next(r for r in modules if r.decision.module.name == "eh_proj")
    assert (eh_proj.limit is not None) is limited


def test_a_draft_that_cannot_be_built_fails_before_its_load() -> None:
    exaone: Config = {
        "architectures": ["Exaone4_5_ForConditionalGeneration"],
        "model_type": "exaone4_5",
        "num_nextn_predict_layers": 1,
        "text_config": {"num_hidden_layers": 2},
    }
    stored = tensors(exaone)
    packed = stored.pop("mtp.fc.weight")
    stored["mtp.fc.weight_packed"] = packed  # would be a KeyError, were it loaded
    error = "AttributeError: 'Exaone4_5_Config' object has no attribute 'num_hidden_layers'"
    assert verdict(exaone, (), stored, "0.21.0").error == error
    assert verdict(exaone, (), stored, "0.22.1").error == "KeyError: 'fc.weight_packed'"


# --- layers, quiet trunk -----------------------------------------------------


def test_layers_without_a_tensor_are_absent() -> None:
    config = {**MIMO, "num_nextn_predict_layers": 3}
    only_first = {
        name: entry
        for name, entry in tensors(config).items()
        if not name.startswith(("model.mtp_layers.1.", "model.mtp_layers.2."))
    }
    config = with_list(config)
    judged = case(config, only_first)
    assert absent_layers(judged.judged(view_of(config), judged.draft)) == (3, 4)


def test_trunk_modules_that_agree_are_left_out() -> None:
    found = without_quiet_trunk(verdict(GLM, (BLOCK, "lm_head")))
    assert {r.decision.module.part for r in found.modules} == {"draft"}


def test_trunk_modules_that_disagree_are_shown() -> None:
    found = without_quiet_trunk(verdict(GLM, (BLOCK, "model.layers.0.self_attn.o_proj")))
    trunk = [r.decision.module.name for r in found.modules if r.decision.module.part == "trunk"]
    assert trunk == ["model.layers.0.self_attn.o_proj"]


def test_trunk_modules_that_share_the_entry_are_shown() -> None:
    config = with_list(GLM, ("re:.*self_attn.*",))
    plain = tensors(config)
    for shard in ("q_proj", "k_proj", "v_proj", "o_proj"):
        for layer in (0, 1):
            name = f"model.layers.{layer}.self_attn.{shard}"
            plain.pop(f"{name}.weight_scale")
            plain[f"{name}.weight"] = ("BF16", (8, 8))
    found = without_quiet_trunk(report(case(config, plain), view_of(config)))
    trunk = [r.decision.module.name for r in found.modules if r.decision.module.part == "trunk"]
    assert "model.layers.0.self_attn.qkv_proj" in trunk


def test_platforms_that_are_judged_alike_share_a_fingerprint() -> None:
    config = with_list(GLM)
    inventory = case(config).inventory
    rocm, xpu = (
        Case(known(config), context(config, "0.33.0", p), inventory) for p in ("rocm", "xpu")
    )
    assert rocm.fingerprint(view_of(config)) == xpu.fingerprint(view_of(config))


def test_releases_have_different_fingerprints() -> None:
    config = with_list(GLM)
    prints = {case(config, None, r).fingerprint(view_of(config)) for r in ("0.32.0", "0.33.0")}
    assert len(prints) == 2
