"""DeepSeek-V4 as it is published, and its DSpark drafts, as a real 0.5.23 was seen to load them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mtpfix
from mtpfix import draft_folder
from mtpfix.engines.sglang.first_tensor import UNKNOWN, probed, tensor
from mtpfix.engines.sglang.records import Probe
from mtpfix.model import Checkpoint, Listing, Platform, Target, Tensor
from tests.cases.materialise import CASES, materialise
from tools import sglang_tiny
from tools.forge import Mtp, forge
from tools.prove_sglang import foreseen

RELEASE = "0.5.23"
FAMILIES = ("deepseek_v4", "deepseek_v4_dspark")
EXPERTS = {
    ("deepseek-v4-fp8", "cuda"): "Fp8MoEMethod",
    ("deepseek-v4-fp4", "cuda"): "Mxfp4FlashinferCutlassMoEMethod",
    ("deepseek-v4-fp8", "cuda:10.0"): "Fp8MoEMethod",
    ("deepseek-v4-fp4", "cuda:10.0"): "Mxfp4FlashinferTrtllmMoEMethod",
}


def made(
    folder: Path, family: str, scheme: str, mtp: Mtp, ignore: tuple[str, ...] = ("lm_head",)
) -> Path:
    variant = sglang_tiny.variant(family, scheme)
    forge(family, folder, scheme, variant=variant, mtp=mtp, ignore=ignore, shards=3)
    sglang_tiny.adapt(folder, family)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("scheme", "platform"), EXPERTS)
def test_what_is_published_is_clean(
    family: str, scheme: str, platform: Platform, tmp_path: Path
) -> None:
    folder = made(tmp_path, family, scheme, "quantized")
    engine = mtpfix.inspect(folder, sglang=[RELEASE], platforms=[platform]).engines[0]
    assert engine.outcome == "clean"
    built = {m.decision.scheme for m in engine.modules if m.decision.module.kind == "experts"}
    assert built == {EXPERTS[scheme, platform]}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("platform", ["cuda", "cuda:10.0"])
def test_no_list_serves_a_block_in_bf16_beside_native_fp8(
    family: str, platform: Platform, tmp_path: Path
) -> None:
    folder = made(tmp_path, family, "deepseek-v4-fp8", "bf16")
    report = mtpfix.inspect(folder, sglang=[RELEASE], platforms=[platform])
    assert report.engines[0].outcome == "load_error"
    limited = [m for m in report.engines[0].modules if m.limit is not None]
    assert limited
    assert {m.decision.module.name.rpartition(".")[2] for m in limited} == {"wo_a"}
    assert {m.decision.module.part for m in limited} >= {"trunk"}  # the target loads no better
    drafted = draft_folder(folder, sglang=[RELEASE], platforms=[platform])
    assert drafted.exit_code == 1


def test_trunk_experts_are_built_as_the_first_expert_of_the_file_is_stored(tmp_path: Path) -> None:
    """In one file the header begins with BF16 tensors: those of the block, where it is plain."""
    variant = sglang_tiny.variant("deepseek_v4")
    forge("deepseek_v4", tmp_path, "deepseek-v4-fp8", variant=variant, mtp="bf16")
    report = mtpfix.inspect(tmp_path, sglang=[RELEASE])
    experts = [m for m in report.engines[0].modules if m.decision.module.kind == "experts"]
    assert {m.decision.scheme for m in experts} == {"Mxfp4FlashinferCutlassMoEMethod"}
    assert "MTP206" in {finding.code for finding in report.findings}


@pytest.mark.parametrize(
    ("scheme", "mtp", "outcome"),
    [
        ("ct-fp8-channel", "bf16", "load_error"),
        ("ct-fp8-channel", "quantized", "silent_garbage"),
        ("ct-w4a16", "bf16", "silent_garbage"),
        ("deepseek-v4-fp8", "quantized", "clean"),
        ("deepseek-v4-fp4", "quantized", "clean"),
        ("deepseek-v4-fp8", "bf16", "load_error"),
        ("deepseek-v4-fp8", "main_proj", "silent_garbage"),
    ],
)
def test_the_load_of_a_dspark_draft_is_foreseen(
    scheme: str, mtp: Mtp, outcome: str, tmp_path: Path
) -> None:
    folder = made(tmp_path, "deepseek_v4_dspark", scheme, mtp)
    assert foreseen(folder, RELEASE) == outcome


def test_a_server_is_told_the_algorithm_of_dspark(tmp_path: Path) -> None:
    folder = made(tmp_path, "deepseek_v4_dspark", "ct-fp8-channel", "bf16")
    flags = draft_folder(folder, sglang=[RELEASE]).flags
    assert flags is not None
    assert flags.always == "--speculative-algorithm DSPARK --speculative-draft-model-path DIR"


def test_one_list_serves_both_engines(tmp_path: Path) -> None:
    folder = made(tmp_path, "deepseek_v4_dspark", "ct-fp8-channel", "bf16")
    mtpfix.rewrite(
        folder, engines=["vllm"], sglang=[RELEASE], backup=False, allow_partial=True, write=True
    )
    assert foreseen(folder, RELEASE) == "clean"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    listed = config["quantization_config"]["ignore"]
    assert any("stages" in entry for entry in listed)
    assert any("main_proj" in entry or "layers" in entry for entry in listed)


def test_tensors_tell_dspark_from_mtp(tmp_path: Path) -> None:
    """A configuration may have the keys of DSpark while the block is MTP."""
    folder = made(tmp_path, "deepseek_v4", "deepseek-v4-fp8", "quantized")
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"dspark_target_layer_ids": [0, 1, 2], "dspark_markov_rank": 32}
    path.write_text(json.dumps(config), encoding="utf-8")
    engine = mtpfix.inspect(folder, sglang=[RELEASE]).engines[0]
    assert engine.modules[0].decision.module.name == "model.e_proj"


PROBE = Probe(tensors=r"\.experts\.\d+\.w1\.weight$", dtypes={"I8": "mxfp4"}, otherwise="other")
ONE, TWO = "mtp.0.experts.0.w1.weight", "layers.0.experts.0.w1.weight"


def header(*rows: tuple[str, str]) -> dict[str, Tensor]:
    return {name: Tensor(dtype, (2, 2), 0, 4) for name, dtype in rows}


def test_of_an_index_its_first_name_counts() -> None:
    shards = {"norm.weight": "b", TWO: "b", ONE: "a"}
    found = Listing(Target("local", ""), (), {}, shards, "index")
    assert tensor(found, PROBE) == TWO
    assert probed(Checkpoint(found, {}), PROBE) == UNKNOWN
    assert probed(Checkpoint(found, {"b": header((TWO, "I8"))}), PROBE) == "mxfp4"
    assert probed(None, PROBE) == UNKNOWN


def test_without_an_index_the_first_file_counts() -> None:
    headers = {"b": header((TWO, "I8")), "a": header((ONE, "BF16"))}
    shards = {TWO: "b", ONE: "a"}
    found = Listing(Target("local", ""), (), {}, shards, "headers", headers=headers)
    assert tensor(found, PROBE) == ONE
    assert probed(Checkpoint(found, headers), PROBE) == "other"
    bare = Listing(Target("local", ""), (), {}, {}, "none")
    assert probed(Checkpoint(bare, {}), PROBE) == "other"


@pytest.mark.parametrize(
    ("checkpoint", "platform", "outcome"),
    [
        ("mxfp4-draft", "cuda:10.0", "clean"),
        ("nvfp4-draft", "cuda:10.0", "silent_garbage"),
        ("mxfp4-draft", "cuda", "load_error"),
    ],
)
def test_beside_experts_in_nvfp4_those_of_the_draft_are_read_as_mxfp4(
    checkpoint: str, platform: Platform, outcome: str, tmp_path: Path
) -> None:
    case = CASES / "dsv4-flash-nvfp4-dspark-mxfp4" / checkpoint
    folder = materialise(case, tmp_path / "model")
    engine = mtpfix.inspect(folder, sglang=[RELEASE], platforms=[platform], trunk=True).engines[0]
    assert engine.outcome == outcome
    experts = [m.decision for m in engine.modules if m.decision.module.kind == "experts"]
    draft = {each.scheme for each in experts if each.module.part == "draft"}
    assert draft == {"Mxfp4FlashinferTrtllmMoEMethod"}
    trunk = {each.scheme or each.built for each in experts if each.module.part == "trunk"}
    assert trunk == {"error" if platform == "cuda" else "ModelOptNvFp4FusedMoEMethod"}
