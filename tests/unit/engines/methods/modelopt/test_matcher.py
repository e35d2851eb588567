"""ModelOpt: what excludes a module, and what is built for one that nothing excludes."""

from __future__ import annotations

from typing import Any

import pytest

from mtpfix.engines.policies import construction
from mtpfix.engines.policies.method import ShardsDifferError
from mtpfix.engines.vllm import methods
from mtpfix.engines.vllm.methods.modelopt.wildcards import Excluded, spread
from mtpfix.engines.vllm.predict import predict
from mtpfix.model import Decision, Entry
from mtpfix.patterns import PatternError
from tests.unit.engines.small import ALL, GLM, MIMO, NEWEST, Config, known, view_of

ATTN = "model.layers.2.self_attn"
MLP = "model.layers.2.mlp"
QKV = {"qkv_proj": ("q_proj", "k_proj", "v_proj")}


def excluded(*texts: str) -> Excluded:
    return Excluded(Entry(text, "config.json", "") for text in texts)


def decisions(
    release: str = NEWEST, *, algo: str | None = "NVFP4", **more: Any
) -> dict[str, Decision]:
    stated = {"quant_method": "modelopt", **more}
    if algo is not None:
        stated["quant_algo"] = algo
    config: Config = {**GLM, "quantization_config": stated}
    view, policy = view_of(config), known(config)
    context = construction.context(policy, config, release, "cuda", view.method)
    found = predict(policy, view, context, construction.modules(policy, context, "draft"))
    return {decision.module.name: decision for decision in found}


# --- the list ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "name", "hit"),
    [
        ("mtp.fc", "mtp.fc", True),
        ("mtp", "mtp.fc", True),
        ("fc", "mtp.fc", True),
        ("model.layers.4", "model.layers.43.mlp.up_proj", True),
        ("model.layers.4.", "model.layers.43.mlp.up_proj", False),
        ("model.layers.4*", "model.layers.43.mlp.up_proj", True),
        ("model.layers.4.*", "model.layers.43.mlp.up_proj", False),
        ("model.layers.4.*", "model.layers.4.mlp.up_proj", True),
        ("layers.4.*", "model.layers.4.mlp.up_proj", False),
        ("*.q_proj", "model.layers.4.self_attn.qkv_proj", False),
        ("*.[qo]_proj", "model.layers.4.self_attn.o_proj", True),
        ("*.?_proj", "model.layers.4.self_attn.o_proj", True),
        ("MTP*", "mtp.fc", False),
        ("re:mtp.*", "mtp.fc", False),
        ("", "mtp.fc", True),
        ("*", "", True),
        ("mtp*", "", False),
    ],
)
def test_an_entry_is_a_name_a_part_of_one_or_a_wildcard(entry: str, name: str, hit: bool) -> None:
    assert bool(excluded(entry).exempts(name, {}, NEWEST)) is hit


def test_some_shards_of_a_fused_layer_are_not_enough() -> None:
    with pytest.raises(ShardsDifferError):
        excluded("a.q_proj", "a*").exempts("a.qkv_proj", QKV, NEWEST)


def test_a_wildcard_that_python_refuses_is_a_pattern_error(monkeypatch: Any) -> None:
    monkeypatch.setattr(
        "mtpfix.engines.vllm.methods.modelopt.wildcards.translate", lambda text: "("
    )
    with pytest.raises(PatternError):
        excluded("a*")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("mtp*", ("mtp", "mtp.*")),
        ("mtp.*", ("mtp.*",)),
        ("mtp**", ("mtp*", "mtp*.*")),
        ("*", ("*",)),
        (".*", (".*",)),
        ("m*p", ("m*p",)),
        ("", ("",)),
    ],
)
def test_a_mapper_takes_a_bare_star_apart(text: str, parts: tuple[str, ...]) -> None:
    assert spread(text) == parts


# --- what is built -----------------------------------------------------------


@pytest.mark.parametrize("release", ALL)
def test_a_block_is_excluded_by_one_entry_in_every_release(release: str) -> None:
    found = decisions(release, ignore=["model.layers.2.*"])
    assert {decision.built for decision in found.values()} == {"unquantized"}


def test_nothing_is_excluded_without_a_list() -> None:
    found = decisions()
    assert found[f"{ATTN}.qkv_proj"].scheme == "ModelOptLinearMethod"
    assert found[f"{MLP}.experts"].scheme == "ModelOptNvFp4FusedMoE"
    assert found[f"{MLP}.experts"].expects == "modelopt-nvfp4"


@pytest.mark.parametrize(
    ("release", "built"),
    [("0.22.1", "unquantized"), ("0.23.0", "quantized"), (NEWEST, "quantized")],
)
def test_a_head_is_quantized_from_0_23_on(release: str, built: str) -> None:
    assert decisions(release)["model.layers.2.head"].built == built


@pytest.mark.parametrize(
    ("release", "algo", "scheme"),
    [
        ("0.29.0", "NVFP4", "ModelOptNvFp4LinearMethod"),
        ("0.29.0", "W4A16_NVFP4", "ModelOptNvFp4W4A16LinearMethod"),
        ("0.29.0", "FP8", "ModelOptFp8LinearMethod"),
        ("0.29.0", "FP8_PB_WO", "ModelOptFp8PbWoLinearMethod"),
        ("0.29.0", "FP8_PER_CHANNEL_PER_TOKEN", "ModelOptFp8PcPtLinearMethod"),
        ("0.29.0", "MXFP8", "ModelOptMxFp8LinearMethod"),
        ("0.30.0", "MXFP8", "ModelOptLinearMethod"),
    ],
)
def test_each_algorithm_had_a_class_up_to_0_29(release: str, algo: str, scheme: str) -> None:
    assert decisions(release, algo=algo)[f"{ATTN}.o_proj"].scheme == scheme


NESTED: Config = {"quant_algo": "NVFP4", "group_size": 16, "kv_cache_quant_algo": None,
                  "exclude_modules": []}  # fmt: skip
MADE: Config = {"name": "modelopt"}


def refused(release: str = NEWEST, **fields: Any) -> str:
    error = decisions(release, **fields)[f"{ATTN}.o_proj"].error or ""
    return error.partition("Value error, ")[2]


@pytest.mark.parametrize(
    ("release", "fields", "words"),
    [
        (NEWEST, {"ignore": None}, "exclude_modules must be a list"),
        (NEWEST, {"algo": None}, "Missing 'quant_algo'"),
        (NEWEST, {"algo": "W4A16_AWQ"}, "ModelOpt currently only supports"),
        ("0.20.2", {"algo": "W4A16_NVFP4"}, "ModelOpt currently only supports"),
        ("0.21.0", {"algo": "W4A16_NVFP4"}, ""),
        (NEWEST, {"quant_method": "modelopt_fp4", "algo": "FP8_PB_WO"}, "Unsupported ModelOpt"),
        (NEWEST, {"quantization": NESTED}, ""),
        (NEWEST, {"quantization": {"quant_algo": "NVFP4"}}, "NVFP4 quantization requires"),
        (NEWEST, {"quantization": {"quant_algo": "MXFP8"}}, "MXFP8 quantization requires"),
        (NEWEST, {"quantization": {"quant_algo": "FP8"}, "producer": MADE}, ""),
        (NEWEST, {"quantization": {**NESTED, "quant_algo": "MXFP8"}, "producer": MADE},
         "Unknown ModelOpt quant algo: MXFP8"),
        ("0.32.0", {"quantization": {"quant_algo": "MIXED_PRECISION"}, "producer": MADE},
         "Unknown ModelOpt quant algo: MIXED_PRECISION"),
        ("0.33.0", {"quantization": {"quant_algo": "MIXED_PRECISION"}, "producer": MADE},
         "MIXED_PRECISION quant_algo requires"),
        ("0.23.0", {"quant_method": "modelopt_mxfp8", "algo": None}, "Missing 'quant_algo'"),
        ("0.25.1", {"quant_method": "modelopt_mxfp8", "algo": None}, ""),
        ("0.24.0", {"algo": "MXFP8"}, "Quantization method mxfp8 is an override"),
    ],
)  # fmt: skip
def test_metadata_that_vllm_refuses_while_it_reads_it(
    release: str, fields: Config, words: str
) -> None:
    if words.startswith("Quantization"):
        found = decisions(release, **fields)[f"{ATTN}.o_proj"].error or ""
        assert words in found
    elif words:
        assert refused(release, **fields).startswith(words)
    else:
        assert decisions(release, **fields)[f"{ATTN}.o_proj"].built == "quantized"


def test_mxfp8_without_an_algorithm_has_a_key_of_its_own() -> None:
    named = {"quant_method": "modelopt_mxfp8", "algo": None}
    found = decisions(**named, ignored_layers=[f"{ATTN}.o_proj"], ignore=["*"])
    assert found[f"{ATTN}.o_proj"].built == "unquantized"
    assert found[f"{ATTN}.qkv_proj"].built == "quantized"
    assert decisions(**named, ignored_layers=None)[f"{ATTN}.o_proj"].built == "quantized"


@pytest.mark.parametrize(("release", "built"), [("0.24.0", "quantized"), ("0.25.1", "unquantized")])
def test_a_mapper_that_renames_nothing_takes_stars_apart_all_the_same(
    release: str, built: str
) -> None:
    stated = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["odel.layers.2*"]}
    config: Config = {**MIMO, "quantization_config": stated}
    view, policy = view_of(config), known(config)
    context = construction.context(policy, config, release, "cuda", view.method)
    found = predict(policy, view, context, construction.modules(policy, context, "draft"))
    assert {d.built for d in found if d.module.name == f"{ATTN}.o_proj"} == {built}


# --- an algorithm a layer ----------------------------------------------------


def mixed(release: str = NEWEST, *, ignore: Any = (), **layers: str) -> dict[str, Decision]:
    table = {key.replace("__", "."): {"quant_algo": algo} for key, algo in layers.items()}
    named = {f"model.layers.2.{key}": value for key, value in table.items()}
    return decisions(release, algo="MIXED_PRECISION", quantized_layers=named, ignore=list(ignore))


def test_a_layer_that_is_not_named_is_plain() -> None:
    found = mixed(self_attn__o_proj="FP8")
    assert found[f"{ATTN}.o_proj"].built == "quantized"
    assert found[f"{ATTN}.o_proj"].because is not None
    assert found[f"{ATTN}.qkv_proj"].built == "unquantized"


@pytest.mark.parametrize(("release", "built"), [("0.22.1", "unquantized"), ("0.23.0", "quantized")])
def test_experts_take_what_stands_beside_them_from_0_23_on(release: str, built: str) -> None:
    found = mixed(release, mlp__shared_experts__down_proj="FP8")
    assert found[f"{MLP}.experts"].built == built


def test_experts_take_what_stands_below_them() -> None:
    found = mixed("0.20.2", mlp__experts__0__up_proj="nvfp4")
    assert found[f"{MLP}.experts"].scheme == "ModelOptNvFp4FusedMoE"


def test_the_shards_of_a_fused_layer_must_not_differ() -> None:
    found = mixed(self_attn__q_proj="FP8", self_attn__k_proj="NVFP4")
    assert (found[f"{ATTN}.qkv_proj"].error or "").startswith("ValueError: Mixed quant_algo")


def test_the_list_goes_before_the_layers() -> None:
    found = mixed(ignore=[f"{ATTN}.o_proj"], self_attn__o_proj="FP8")
    assert found[f"{ATTN}.o_proj"].built == "unquantized"


def test_an_algorithm_that_is_not_known_leaves_a_layer_plain() -> None:
    assert mixed(self_attn__o_proj="INT3")[f"{ATTN}.o_proj"].built == "unquantized"


def test_there_must_be_layers() -> None:
    error = mixed()[f"{ATTN}.o_proj"].error or ""
    assert error.startswith("ValidationError: ")
    assert "MIXED_PRECISION quant_algo requires a non-empty" in error


def test_a_mapper_leaves_the_names_of_layers_whole() -> None:
    places = ("/quantization_config/ignore/0", "/quantization_config/quantized_layers/a*")
    entries = [Entry("a*", "config.json", place) for place in places]
    assert [
        entry.text for entry in methods.of("modelopt").renamed(entries, lambda entry: entry)
    ] == ["a", "a.*", "a*"]
