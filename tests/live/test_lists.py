"""Ignore lists that people write, on 43 layers: what we say, and what vLLM does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mtpfix
from mtpfix import verify
from mtpfix.engines.vllm.live import Server
from mtpfix.engines.vllm.verify import compared
from tests.live.asking import subject_of
from tools import sample, tiny
from tools.forge import forge

pytestmark = pytest.mark.live

LISTS = {
    "mtp": [r"re:.*mtp.*"],
    "mtp_block": [r"re:.*mtp_block.*"],
    "layer": [r"re:.*layers\.43\..*"],
    "dot is any character": [r"re:model.layers.4.*"],
    "half": ["model.layers.43.attn.wq_a"],
    "none": [],
}
FP8 = {"num_bits": 8, "type": "float", "symmetric": True}
TARGETS = {"class": ["Linear"], "regex": [r"re:.*attn.*", r"re:.*ffn.*"]}


def checkpoint(folder: Path, ignore: list[str], targets: list[str]) -> Path:
    """43 layers that vLLM can build, with the headers of the sample beside the config."""
    sample.write(folder)
    config = tiny.config("deepseek_v4", tiny.BASE)
    config["num_hidden_layers"] = sample.LAYERS
    config["compress_ratios"] = sample.config()["compress_ratios"]
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "config_groups": {
            "group_0": {
                "targets": targets,
                "weights": {**FP8, "strategy": "channel"},
                "input_activations": {**FP8, "strategy": "token", "dynamic": True},
            }
        },
        "ignore": ignore,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return folder


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("ignore", LISTS)
def test_vllm_builds_what_we_foresee(
    server: Server, ignore: str, targets: str, tmp_path: Path
) -> None:
    folder = checkpoint(tmp_path / "model", LISTS[ignore], TARGETS[targets])
    answer = compared(subject_of(folder), server.ask(folder, tolerant=True))
    assert len(answer.modules) > 300
    assert [m for m in answer.modules if not m.foreseen] == []


def test_the_server_gives_the_answers_of_a_fresh_process(
    server: Server, python: str, tmp_path: Path
) -> None:
    folder = checkpoint(tmp_path / "model", LISTS["mtp"], TARGETS["class"])
    again = {(m.part, m.name): (m.built, m.scheme) for m in server.ask(folder).decisions}
    fresh = {(m.part, m.module): (m.built, m.scheme) for m in verify(folder, python=python).modules}
    assert again == fresh


def test_verify_fails_before_the_repair_and_passes_after_it(
    server: Server, python: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    forge("deepseek_v4", folder, "ct-fp8-channel")
    assert compared(subject_of(folder), server.ask(folder, tolerant=True)).exit_code == 1
    mtpfix.rewrite(folder, vllm=["0.32.0"], platforms=["cuda"], write=True)
    assert verify(folder, python=python).exit_code == 0
