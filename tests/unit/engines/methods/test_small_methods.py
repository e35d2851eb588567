"""torchao, bitsandbytes, humming, fp_quant and the names of online quantization."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mtpfix
from mtpfix.engines.vllm import methods
from mtpfix.engines.vllm.case import Case, report
from mtpfix.engines.vllm.predict import predict
from mtpfix.errors import BrokenFileError
from mtpfix.model import Decision, EngineReport, Entry, QuantView
from mtpfix.repair.planner import plan
from tests.unit.engines.small import ALL, GLM, NEWEST, Tensors, case, known, tensors, view_of
from tools import tiny
from tools.forge import forge

DRAFT = "model.layers.2"
EXPERTS = f"{DRAFT}.mlp.experts"
QKV = f"{DRAFT}.self_attn.qkv_proj"
PLAIN: Tensors = {n: ("BF16", (8, 8)) for n in tensors(GLM) if not n.endswith("_scale")}
INT8 = {"default": {"_type": "Int8WeightOnlyConfig", "_version": 2, "_data": {}}}


def view(**metadata: Any) -> QuantView:
    return view_of({**GLM, "quantization_config": metadata})


def made(method: str, release: str = NEWEST, stored: Tensors | None = None) -> Case:
    found = case(GLM, PLAIN if stored is None else stored, release)
    return replace(found, context=replace(found.context, method=method))


def decisions(release: str = NEWEST, **metadata: Any) -> dict[str, Decision]:
    seen = view(**metadata)
    here = made(seen.method, release)
    return {d.module.name: d for d in predict(known(GLM), seen, here.context, here.draft)}


def judged(release: str = NEWEST, **metadata: Any) -> EngineReport:
    seen = view(**metadata)
    return report(made(seen.method, release), seen)


def first(method: str, entry: str, name: str, release: str = NEWEST) -> bool:
    listed = methods.of(method).listed([Entry(entry, "", "")], release)
    return listed.first(name) is not None


# --- torchao -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "name", "fits"),
    [
        ("model.layers.2", QKV, True),
        ("layers.2", QKV, True),
        ("self_attn", QKV, True),
        ("model.layers.2", "model.layers.20.o_proj", False),
        ("layers.2.", QKV, False),
        ("qkv", QKV, False),
        ("", "", True),
        ("", QKV, False),
        ("re:.*", QKV, False),
    ],
)
def test_torchao_compares_whole_components(entry: str, name: str, fits: bool) -> None:
    assert first("torchao", entry, name) == fits


def test_torchao_quantizes_linear_layers_alone() -> None:
    found = decisions(quant_method="torchao", quant_type=INT8)
    assert found[QKV].scheme == "TorchAOLinearMethod"
    assert found[EXPERTS].built == "unquantized"


def test_a_plain_block_is_mended_under_torchao_by_one_entry() -> None:
    seen = view(quant_method="torchao", quant_type=INT8)
    found = plan([made("torchao", release) for release in ALL], seen)
    # transformers leaves the head alone by itself only where there is no list.
    assert found.added == ("lm_head", DRAFT)
    assert found.unresolved == ()


@pytest.mark.parametrize(
    ("by_name", "built"),
    [
        ({QKV: {"_type": "Int4WeightOnlyConfig"}}, "quantized"),
        ({QKV: None, "_default": {}}, "unquantized"),
        ({"re:.*qkv_proj": {}}, "quantized"),
        ({"re:model": {}}, "unquantized"),
        ({"re:.*qkv_proj": None, "_default": {}}, "unquantized"),
        ({"_default": {}}, "quantized"),
        ({"_default": None}, "unquantized"),
        ({}, "unquantized"),
        ({"re:(": {}}, "error"),
    ],
)
def test_torchao_configures_by_name(by_name: dict[str, Any], built: str) -> None:
    kind = {"_type": "ModuleFqnToConfig", "_data": {"module_fqn_to_config": by_name}}
    found = decisions(quant_method="torchao", quant_type={"default": kind})
    assert found[QKV].built == built


@pytest.mark.parametrize("kinds", [None, {}, {"other": {}}, {"default": {}, "other": {}}])
def test_torchao_wants_one_default_configuration(kinds: Any) -> None:
    found = judged(quant_method="torchao", quant_type=kinds)
    assert found.outcome == "load_error"
    assert (found.error or "").startswith("AssertionError: ")


@pytest.mark.parametrize("kinds", ["int8", {"default": 3}, [1]])
def test_torchao_metadata_of_another_type_is_told(kinds: Any) -> None:
    with pytest.raises(BrokenFileError):
        view(quant_method="torchao", quant_type=kinds)


# --- bitsandbytes --------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "name", "fits"),
    [
        ("model.layers.2", QKV, True),
        ("self_attn", QKV, True),
        ("layers.2", QKV, False),
        ("model.layers.2", "model.layers.20.o_proj", False),
        ("2", QKV, True),
    ],
)
def test_bitsandbytes_compares_a_component_or_what_leads(entry: str, name: str, fits: bool) -> None:
    assert first("bitsandbytes", entry, name, "0.27.1") == fits


def test_bitsandbytes_quantizes_experts_whatever_the_list_says() -> None:
    skip = ["model.layers.2", "experts"]
    found = decisions("0.27.1", quant_method="bitsandbytes", llm_int8_skip_modules=skip)
    assert found[EXPERTS].scheme == "BitsAndBytesMoEMethod"
    assert found[QKV].built == "unquantized"


@pytest.mark.parametrize("release", ALL)
@pytest.mark.parametrize("skip", [[], ["model.layers.2"]])
def test_no_list_makes_a_plain_block_load_under_bitsandbytes(release: str, skip: Any) -> None:
    fields = {"quant_method": "bitsandbytes", "load_in_4bit": True, "llm_int8_skip_modules": skip}
    assert judged(release, **fields).outcome == "load_error"
    found = plan([made("bitsandbytes", release)], view(**fields))
    assert found.edits == ()
    assert found.unresolved


def test_most_draft_classes_are_refused_by_the_bitsandbytes_loader() -> None:
    markers = (
        "weight",
        "weight.absmax",
        "weight.quant_map",
        "weight.quant_state.bitsandbytes__nf4",
    )
    linear = [n.removesuffix(".weight") for n in PLAIN if n.endswith("_proj.weight")]
    stored: Tensors = {f"{name}.{end}": ("U8", (8, 1)) for name in linear for end in markers}
    seen = view(quant_method="bitsandbytes", load_in_4bit=True)
    found = report(made("bitsandbytes", "0.27.1", stored), seen)
    assert found.outcome == "load_error"
    assert "packed_modules_mapping" in (found.error or "")


def test_the_bits_tell_the_format() -> None:
    assert view(quant_method="bitsandbytes", load_in_8bit=True).format == "bitsandbytes-8bit"
    assert view(quant_method="bitsandbytes").format == "bitsandbytes-4bit"


# --- humming -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "release", "built"),
    [
        ({}, NEWEST, "quantized"),
        ({"ignored_layers": ["layers.2."]}, NEWEST, "unquantized"),
        ({"ignore": ["qkv"], "modules_to_not_convert": []}, NEWEST, "unquantized"),
        ({"ignored_layers": [], "ignore": ["qkv"]}, NEWEST, "quantized"),
        ({"ignore": ["re:model.*2"]}, NEWEST, "unquantized"),
        ({"ignore": ["re:model.*2"]}, "0.24.0", "quantized"),
        ({"dynamic": {"-:model.layers.2": {}}}, NEWEST, "unquantized"),
        ({"dynamic": {"+:model.layers.2": {"bits": 8}}}, NEWEST, "quantized"),
    ],
)
def test_humming_spares_by_parts_patterns_and_rules(
    metadata: dict[str, Any], release: str, built: str
) -> None:
    assert decisions(release, quant_method="humming", **metadata)[QKV].built == built


@pytest.mark.parametrize("release", ALL)
def test_a_plain_block_needs_no_entry_under_humming(release: str) -> None:
    assert judged(release, quant_method="humming").outcome == "clean"
    assert plan([made("humming", release)], view(quant_method="humming")).edits == ()


# --- refused -------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fp_quant", "online", *methods.of("online").aliases])
@pytest.mark.parametrize("release", [ALL[0], NEWEST])
def test_what_vllm_takes_for_no_draft_is_refused_with_the_reason(method: str, release: str) -> None:
    fields = {"quant_method": method, "modules_to_not_convert": [DRAFT]}
    seen = view(**fields)
    assert judged(release, **fields).outcome == "load_error"
    found = plan([made(seen.method, release)], seen)
    assert found.edits == ()
    assert {u.reason for u in found.unresolved}


def test_inc_is_another_name_of_auto_round() -> None:
    seen = view(quant_method="inc", bits=4, group_size=128, sym=True)
    assert seen.method == "auto-round"


# --- other names ---------------------------------------------------------------


@pytest.mark.parametrize("release", ALL)
def test_mxfp8_has_a_list_from_the_release_on_that_reads_it(release: str) -> None:
    fields = {"quant_method": "mxfp8", "ignored_layers": ["lm_head"]}
    seen = view(**fields)
    assert seen.ignore_pointer.endswith("/ignored_layers")
    found = plan([made("mxfp8", release)], seen)
    if release in ("0.20.2", "0.21.0", "0.22.1", "0.23.0"):
        assert found.edits == ()
        assert judged(release, **fields).outcome == "load_error"
    else:
        assert f"{DRAFT}.*" in found.added


def test_mxfp8_with_an_algorithm_is_modelopt() -> None:
    seen = view(quant_method="mxfp8", quant_algo="MXFP8", ignore=["a"])
    assert (seen.method, [e.text for e in seen.ignore]) == ("modelopt_mxfp8", ["a"])


def test_an_mxfp8_list_that_is_null_is_told() -> None:
    with pytest.raises(BrokenFileError):
        view(quant_method="mxfp8", ignored_layers=None)


def test_the_name_that_vllm_gives_gpt_oss_is_read_like_mxfp4() -> None:
    found = decisions(quant_method="gpt_oss_mxfp4")
    assert found[EXPERTS].scheme == "GptOssMxfp4MoEMethod"
    assert found[QKV].built == "unquantized"
    seen = view(quant_method="gpt_oss_mxfp4")
    assert "whatever the metadata says" in plan([made(seen.method)], seen).unresolved[0].reason


# --- what no entry can mean ----------------------------------------------------


def forged(family: str, scheme: str, folder: Path) -> Path:
    forge(family, folder, scheme, variant=tiny.variant(family, "none"))
    return folder


def test_a_head_without_a_name_is_told_with_the_first_good_release(tmp_path: Path) -> None:
    model = forged("step3p5", "modelopt-nvfp4", tmp_path / "model")
    found = mtpfix.plan(model, platforms=["cuda"])
    (left,) = (left for left in found.plan.unresolved if not left.module and left.engine == "vllm")
    assert left.releases == ("0.23.0", "0.24.0", "0.25.1", "0.26.0")
    assert "fixed in vLLM 0.27." in left.reason
    assert not found.plan.schemes  # releases that do not decide are not worth a new algorithm


def test_a_head_without_a_name_is_unquantized_where_each_layer_has_an_algorithm(
    tmp_path: Path,
) -> None:
    model = forged("step3p5", "modelopt-nvfp4", tmp_path / "model")
    found = mtpfix.plan(model, vllm=["0.24.0", "0.32.0"], platforms=["cuda"])
    assert found.exit_code == 0
    assert found.plan.unresolved == ()
    assert found.plan.schemes


def test_a_layer_without_a_name_is_told_with_the_first_good_release(tmp_path: Path) -> None:
    model = forged("deepseek_v4", "modelopt-fp8", tmp_path / "model")
    found = mtpfix.plan(model, vllm=["0.22.1", "0.24.0"], platforms=["cuda"])
    reasons = {left.module: left.reason for left in found.plan.unresolved}
    assert "empty name" in reasons[""]
    assert reasons[""].endswith("fixed in vLLM 0.24.0")


def test_an_entry_that_would_reach_the_trunk_too_is_told_with_the_way_out(tmp_path: Path) -> None:
    model = forged("minimax_m3", "awq", tmp_path / "model")
    found = mtpfix.plan(model, vllm=["0.32.0"], platforms=["cuda"])
    reasons = {left.module: left.reason for left in found.plan.unresolved}
    qkv = "model.layers.0.self_attn.qkv_proj"
    assert f"also matches `language_model.{qkv}`" in reasons[qkv]
    assert "anchored" in reasons[qkv]
