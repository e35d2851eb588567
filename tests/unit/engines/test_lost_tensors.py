"""Tensors that no module has: a real vLLM 0.32.0 left their parameter partly uninitialised."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import mtpfix
from tools.forge import forge
from tools.random_draws import fuse

PARTS_OF_ONE = (
    "attn_hyper_connection.input_mix_weight_down",
    "mlp_hyper_connection.block_inject_weight",
)
"""Each is half of a parameter of Qwen4-Exp that is in no module."""


@pytest.mark.parametrize("part", PARTS_OF_ONE)
def test_a_parameter_that_several_tensors_fill_lacks_each_of_them(
    part: str, tmp_path: Path
) -> None:
    forge("qwen4_exp", tmp_path, "none")
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    assert mtpfix.check(tmp_path, vllm=["0.32.0"]).engines[0].outcome == "clean"
    del tensors[f"mtp.layers.0.{part}.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    assert mtpfix.check(tmp_path, vllm=["0.32.0"]).engines[0].outcome == "silent_garbage"


def test_one_tensor_fills_such_a_parameter_under_its_own_name(tmp_path: Path) -> None:
    """The real one loads it: nothing is left uninitialised."""
    forge("qwen4_exp", tmp_path, "ct-fp8-channel")
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    block = "mtp.layers.0.attn_hyper_connection"
    parts = [f"{block}.input_mix_weight_down", f"{block}.block_inject_weight"]
    fuse(tensors, f"{block}.input_mix_weight_down_block_inject", parts)
    save_file(tensors, file, metadata={"format": "pt"})
    plan = mtpfix.plan(tmp_path, vllm=["0.32.0"])
    assert "MTP006" not in {finding.code for finding in plan.before.findings}
    assert plan.after.engines[0].outcome == "clean"
