"""What a load in SGLang comes to, as a real 0.5.23 was seen to end (`tools.prove_random`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from mtpfix import api
from tools import sglang_tiny
from tools.forge import Mtp, forge
from tools.prove_sglang import foreseen

RELEASE = "0.5.23"
SEEN: tuple[tuple[str, str, Mtp, str], ...] = (
    # GPTQ's packed members cannot be joined along the first axis.
    ("deepseek_v3", "gptq", "quantized", "load_error"),
    ("glm4_moe_lite", "auto-round", "quantized", "load_error"),
    ("bailing_v2_5", "gptq", "quantized", "load_error"),
    # Members that a layer loads part by part raise; others are dropped.
    ("mimo_v2", "ct-w4a16", "bf16", "load_error"),
    ("mimo_v2", "ct-w4a16", "quantized", "silent_garbage"),
    ("deepseek_v3", "awq", "bf16", "load_error"),
    # `kv_b_proj.weight` is read after the load.
    ("bailing_v3", "ct-w4a16", "bf16", "load_error"),
    # An exception in a thread is lost.
    ("longcat_flash", "modelopt-nvfp4", "bf16", "silent_garbage"),
    # No backend for experts.
    ("deepseek_v4", "gptq", "bf16", "load_error"),
)
LOST = (
    ("glm4_moe", "model.layers.2.enorm.weight"),
    ("deepseek_v32", "model.layers.2.self_attn.indexer.k_norm.bias"),
    ("deepseek_v4", "mtp.0.hc_head_fn"),
    ("ernie4_5_moe", "model.mtp_hidden_norm.0.weight"),
    ("nemotron_h", "mtp.layers.0.norm.weight"),
    ("qwen3_5", "mtp.pre_fc_norm_embedding.weight"),
    ("mimo", "model.mtp_layers.0.self_attn.q_proj.bias"),
    ("hy_v3", "model.layers.2.mlp.expert_bias"),
)


@pytest.mark.parametrize(("family", "scheme", "mtp", "outcome"), SEEN)
def test_the_outcome_of_a_load_is_foreseen(
    family: str, scheme: str, mtp: Mtp, outcome: str, tmp_path: Path
) -> None:
    forge(family, tmp_path, scheme, mtp=mtp)
    sglang_tiny.adapt(tmp_path, family)
    assert foreseen(tmp_path, RELEASE) == outcome


@pytest.mark.parametrize(("family", "name"), LOST)
def test_a_parameter_outside_modules_stays_uninitialised(
    family: str, name: str, tmp_path: Path
) -> None:
    forge(family, tmp_path, "none")
    sglang_tiny.adapt(tmp_path, family)
    file = tmp_path / "model.safetensors"
    whole = api.inspect(tmp_path, sglang=[RELEASE])
    assert "MTP006" not in {finding.code for finding in whole.findings}
    tensors = load_file(file)
    del tensors[name]
    save_file(tensors, file, metadata={"format": "pt"})
    cut = api.inspect(tmp_path, sglang=[RELEASE])
    assert cut.engines[0].outcome == "silent_garbage"
    assert "MTP006" in {finding.code for finding in cut.findings}
