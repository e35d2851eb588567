"""deepseek_v4_fp8: fp8 lists, experts in the format that `expert_dtype` names, a bare `scale`."""

from __future__ import annotations

from typing import Any

import pytest

from mtpfix.engines.vllm import loader
from mtpfix.engines.vllm.predict import predict
from mtpfix.model import Decision, Platform
from tests.unit.engines.small import (
    ALL,
    DEEPSEEK_V4,
    NEWEST,
    Config,
    case,
    context,
    known,
    modules,
    view_of,
    with_fp8,
)
from tools.sample import Tensors

EXPERTS = "model.layers.2.ffn.experts"
WO_B = "model.layers.2.attn.wo_b"


def of(*ignore: str, quantization: Config | None = None, **fields: Any) -> Config:
    return with_fp8({**DEEPSEEK_V4, **fields}, *ignore, **(quantization or {}))


def decisions(
    config: Config, release: str = NEWEST, platform: Platform = "cuda"
) -> dict[str, Decision]:
    found = modules(config, "draft", release, platform)
    made = predict(known(config), view_of(config), context(config, release, platform), found)
    return {decision.module.name: decision for decision in made}


def test_the_model_type_selects_the_method() -> None:
    assert context(of()).method == view_of(of()).method == "deepseek_v4_fp8"
    assert view_of({**of(), "model_type": "deepseek_v3"}).method == "fp8"


@pytest.mark.parametrize("release", ALL)
@pytest.mark.parametrize(
    ("fields", "scheme", "expects"),
    [
        ({}, "Mxfp4MoEMethod", "quark-mxfp4"),
        ({"expert_dtype": "fp4"}, "Mxfp4MoEMethod", "quark-mxfp4"),
        ({"expert_dtype": "fp8"}, "Fp8MoEMethod", "fp8-block"),
    ],
)
def test_experts_are_built_in_the_format_that_the_model_names(
    release: str, fields: dict[str, str], scheme: str, expects: str
) -> None:
    found = decisions(of(**fields), release)
    assert (found[EXPERTS].scheme, found[EXPERTS].expects) == (scheme, expects)
    assert (found[WO_B].scheme, found[WO_B].expects) == ("Fp8LinearMethod", "fp8-block")


@pytest.mark.parametrize(
    ("release", "dtype", "scheme"),
    [
        ("0.21.0", "fp4", "Mxfp4MoEMethod"),
        ("0.22.1", "fp4", "ModelOptNvFp4FusedMoE"),
        (NEWEST, "fp4", "ModelOptNvFp4FusedMoE"),
        (NEWEST, "fp8", "Fp8MoEMethod"),
    ],
)
def test_nvfp4_experts_are_named_beside_fp4_from_0_22(
    release: str, dtype: str, scheme: str
) -> None:
    config = of(quantization={"moe_quant_algo": "nvfp4"}, expert_dtype=dtype)
    assert decisions(config, release)[EXPERTS].scheme == scheme


@pytest.mark.parametrize("dtype", ["int4", None])
def test_another_format_is_an_error_of_what_no_entry_exempts(dtype: str | None) -> None:
    found = decisions(of(WO_B, expert_dtype=dtype))
    assert (found[EXPERTS].error or "").startswith("ValueError: Unsupported DeepSeek V4")
    assert found["model.layers.2.e_proj"].built == "error"
    assert found[WO_B].built == "unquantized"


@pytest.mark.parametrize(
    ("dtype", "suffix"), [("fp4", "weight_scale"), ("fp8", "weight_scale_inv")]
)
def test_the_loader_gives_a_bare_scale_the_name_that_the_format_has(
    dtype: str, suffix: str
) -> None:
    config = of(expert_dtype=dtype)
    how = loader.loader(known(config), context(config))
    assert how.expert_renames == (("scale", suffix),)
    assert how.renames == (("scale", "weight_scale_inv"),)
    trunk = loader.trunk_loader(how, context(config))
    assert (trunk.style, trunk.renames, trunk.method) == ("unknown", how.renames, "deepseek_v4_fp8")


# --- experts that ModelOpt kept in MXFP4 -------------------------------------------


@pytest.mark.parametrize(
    ("release", "platform", "ignore", "scheme"),
    [
        (NEWEST, "cuda", ["mtp.*"], "Mxfp4MoEMethod"),
        (NEWEST, "rocm", ["mtp.0.ffn.experts"], "Mxfp4MoEMethod"),
        (NEWEST, "xpu", ["mtp.*"], "ModelOptNvFp4FusedMoE"),
        (NEWEST, "cuda", ["layers.*", "mtp.1*", 3], "ModelOptNvFp4FusedMoE"),
        (NEWEST, "cuda", "mtp.*", "ModelOptNvFp4FusedMoE"),
        ("0.32.0", "cuda", ["mtp.*"], "Mxfp4MoEMethod"),
        ("0.31.0", "cuda", ["mtp.*"], "ModelOptNvFp4FusedMoE"),
    ],
)
def test_modelopt_s_own_list_counts_from_0_32(
    release: str, platform: Platform, ignore: Any, scheme: str
) -> None:
    config = of(quantization={"moe_quant_algo": "NVFP4", "ignore": ignore})
    assert decisions(config, release, platform)[EXPERTS].scheme == scheme


def test_a_list_in_the_trunk_s_spelling_is_about_the_trunk() -> None:
    config = of(quantization={"moe_quant_algo": "NVFP4", "ignore": ["layers.0.*"]})
    found = modules(config, "trunk")
    made = predict(known(config), view_of(config), context(config), found)
    schemes = {d.module.name: d.scheme for d in made if d.module.kind == "experts"}
    assert schemes == {
        "model.layers.0.ffn.experts": "Mxfp4MoEMethod",
        "model.layers.1.ffn.experts": "ModelOptNvFp4FusedMoE",
    }


def test_blocks_are_those_of_fp8_alone() -> None:
    for more, dtype, block in (({}, "fp8", (128, 128)), ({}, "fp4", None), (NVFP4, "fp4", None)):
        made = decisions(of(quantization=more, expert_dtype=dtype), NEWEST)
        assert made[EXPERTS].block == block
        assert made["model.layers.2.attn.wo_b"].block == (128, 128)


# --- what no list can mend ---------------------------------------------------------


def stored(fmt: Tensors) -> Tensors:
    """Routed experts of the draft, each weight as `fmt` has it."""
    names = (f"mtp.0.ffn.experts.{i}.{w}" for i in range(2) for w in ("w1", "w2", "w3"))
    return {f"{name}.{suffix}": entry for name in names for suffix, entry in fmt.items()}


FP4: Tensors = {"weight": ("I8", (128, 64)), "scale": ("F8_E8M0", (128, 4))}
FP8: Tensors = {"weight": ("F8_E4M3", (128, 128)), "scale": ("F32", (1, 1))}
NVFP4: Config = {"moe_quant_algo": "NVFP4"}


@pytest.mark.parametrize(
    ("dtype", "more", "tensors", "release", "limit"),
    [
        ("fp4", {}, FP4, NEWEST, None),
        ("fp8", {}, FP8, NEWEST, None),
        ("fp4", {}, FP8, NEWEST, '"expert_dtype": "fp8"'),
        ("fp8", {}, FP4, NEWEST, '"expert_dtype": "fp4"'),
        ("fp4", NVFP4, FP4, NEWEST, '"mtp.*"'),
        ("fp4", NVFP4, FP4, "0.31.0", "0.32.0"),
        ("fp4", NVFP4, FP4, "0.32.0", '"mtp.*"'),
        ("fp4", {**NVFP4, "ignore": ["mtp.*"]}, FP4, NEWEST, None),
    ],
)
def test_experts_in_another_format_have_a_remedy_or_a_release(
    dtype: str, more: Config, tensors: Tensors, release: str, limit: str | None
) -> None:
    config = of(quantization=more, expert_dtype=dtype)
    judged = case(config, stored(tensors), release)
    experts = [m for m in judged.draft if m.kind == "experts"]
    (found,) = judged.judged(view_of(config), experts)
    assert found.agrees is (limit is None)
    said = "" if found.limit is None else f"{found.limit.remedy} {found.limit.good_from}"
    assert (limit or "") in said


# --- quark in MXFP4, which some releases hand on ------------------------------------

MX: Config = {"dtype": "fp4", "qscheme": "per_group", "group_size": 32, "scale_format": "e8m0"}


@pytest.mark.parametrize(
    ("release", "linear", "experts"),
    [
        ("0.26.0", "QuarkOCP_MX", "QuarkOCP_MX_MoEMethod"),
        ("0.27.1", "Fp8LinearMethod", "Mxfp4MoEMethod"),
        ("0.30.0", "Fp8LinearMethod", "Mxfp4MoEMethod"),
        ("0.31.0", "QuarkOCP_MX", "QuarkOCP_MX_MoEMethod"),
    ],
)
def test_quark_in_mxfp4_is_read_as_fp8_from_0_27_to_0_30(
    release: str, linear: str, experts: str
) -> None:
    quark = {
        "quant_method": "quark",
        "export": {"kv_cache_group": [], "pack_method": "reorder"},
        "layer_quant_config": {},
        "layer_type_quant_config": {},
        "global_quant_config": {"weight": MX, "input_tensors": None},
        "exclude": ["model.layers.2.attn.wq_b", "re:.*wo_b"],
    }
    found = decisions({**DEEPSEEK_V4, "quantization_config": quark}, release)
    names = ("model.layers.2.e_proj", EXPERTS)
    assert tuple(found[name].scheme for name in names) == (linear, experts)
    assert found["model.layers.2.attn.wq_b"].built == "unquantized"
    handed_on = linear == "Fp8LinearMethod"  # no patterns then
    assert (found[WO_B].built == "quantized") is handed_on
