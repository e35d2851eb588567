"""SGLang builds other modules on a GPU of capability 10.0; vLLM's do not hang on that."""

from __future__ import annotations

from pathlib import Path

import pytest

import mtpfix
from mtpfix.model import EngineReport, Platform
from tools.forge import forge

DEVICES: tuple[Platform, ...] = ("cuda", "cuda:10.0")


def judged(folder: Path, release: str) -> dict[str, EngineReport]:
    report = mtpfix.inspect(folder, sglang=[release], platforms=DEVICES, trunk=True)
    return {engine.platform: engine for engine in report.engines}


def test_nvfp4_is_served_by_older_releases_on_blackwell_alone(tmp_path: Path) -> None:
    ignore = ("lm_head", r"re:^model\.decoder\..*")
    folder = forge("glm4_moe", tmp_path / "glm", "ct-nvfp4", ignore=ignore).folder
    older = judged(folder, "0.5.19")
    assert older["cuda"].outcome == "load_error"
    assert "does not support" in (older["cuda"].error or "")
    schemes = {m.decision.scheme for m in older["cuda:10.0"].modules}
    assert {"CompressedTensorsW4A4Fp4", "CompressedTensorsW4A4Nvfp4MoE"} <= schemes
    newer = {m.decision.scheme for m in judged(folder, "0.5.23")["cuda"].modules}
    assert "CompressedTensorsW4A16Fp4" in newer


def test_a_shared_expert_is_a_layer_of_its_own_on_blackwell(tmp_path: Path) -> None:
    folder = forge("qwen3_next", tmp_path / "next", "fp8-block").folder
    names = {
        device: {m.decision.module.name for m in report.modules}
        for device, report in judged(folder, "0.5.23").items()
    }
    own = "model.layers.0.mlp.shared_expert.down_proj"
    assert own in names["cuda:10.0"] - names["cuda"]


@pytest.mark.parametrize("engine", ["vllm==0.32.0", "vllm==0.32.0,sglang==0.5.23"])
def test_vllm_is_judged_alike_on_every_gpu(tmp_path: Path, engine: str) -> None:
    folder = forge("mimo", tmp_path / "mimo", "ct-fp8-channel").folder
    names = engine.split(",")
    report = mtpfix.check(folder, engines=names, platforms=["cuda:10.0"])
    places = [(each.engine, each.platform) for each in report.engines]
    assert places == [("vllm", "cuda"), ("sglang", "cuda:10.0")][: len(names)]
    assert report.exit_code == 1
    assert mtpfix.plan(folder, engines=names, platforms=["cuda:10.0"]).exit_code == 0


def test_one_list_is_planned_for_both_devices(tmp_path: Path) -> None:
    folder = forge("glm4_moe", tmp_path / "glm", "ct-fp8-channel").folder
    made = mtpfix.plan(folder)
    planned = {(e.engine, e.platform) for e in made.after.engines}
    assert {("sglang", "cuda"), ("sglang", "cuda:10.0"), ("vllm", "cuda")} <= planned
    assert ("vllm", "cuda:10.0") not in planned
