"""MTP blocks that are quantized as the metadata says, and that vLLM cannot load all the same.

Recorded by loading them: tests/live/test_quantized_blocks.py does it again.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mtpfix
from tools import tiny
from tools.forge import Mtp, forge

BLOCKS = (
    # Fused on disk: one scale, where the parameter has three.
    ("mimo_v2", "ct-nvfp4", "load_error"),
    ("mimo_v2", "fp8-tensor", "load_error"),
    ("mimo_v2_omni", "modelopt-w4a16", "load_error"),
    # Kept back until a scale comes that only the method fp8 has.
    ("mimo_v2", "ct-fp8-channel", "silent_garbage"),
    ("mimo_v2_omni", "modelopt-mxfp8", "silent_garbage"),
    ("mimo_v2_omni", "fp8-block", "clean"),
    ("mimo_v2_flash", "ct-nvfp4", "clean"),  # stored in three
    # Shards of an index that a parameter with a scale for each has no place for.
    ("minimax_m3", "modelopt-fp8", "load_error"),
    ("minimax_m3", "ct-nvfp4", "load_error"),
    ("minimax_m3", "auto-round", "load_error"),
    ("minimax_m3", "ct-fp8-channel", "clean"),
    # Scales that the loader gives the name of another method's.
    ("minimax_m3", "fp8-block", "silent_garbage"),
    ("minimax_m3", "ct-fp8-block", "clean"),
    ("minimax_m3", "modelopt-mxfp8", "clean"),
    # The order of activations, for which no parameter is left.
    ("mimo", "auto-round", "load_error"),
    ("mimo", "gptq-blocks", "load_error"),
    ("ernie4_5_moe", "auto-round", "load_error"),
    ("qwen3_5", "auto-round", "clean"),
    # An indexer in one layer with qkv_proj, whose loader knows no packed words of ModelOpt.
    ("qwen4_exp_sparse", "modelopt-nvfp4", "load_error"),
    ("qwen4_exp_sparse", "modelopt-w4a16", "load_error"),
    ("qwen4_exp_sparse", "ct-nvfp4", "clean"),
    # Metadata that the draft looks for in another place.
    ("nemotron_h_vl", "auto-round", "load_error"),
    ("nemotron_h_vl", "gptq", "load_error"),
    ("nemotron_h_vl", "awq", "load_error"),
    ("nemotron_h_vl", "quark-fp8", "load_error"),
    ("nemotron_h_vl", "modelopt-nvfp4", "clean"),
    # Experts in FP8 blocks, whose scales ModelOpt's own name would not reach.
    ("qwen3_next", "modelopt-mixed-fp8-block", "clean"),
    ("deepseek_v3", "modelopt-mixed-fp8-block", "clean"),
    # A layer whose width is no multiple of 128, which ModelOpt's FP8 blocks must be.
    ("deepseek_v3", "modelopt-fp8-block", "load_error"),
    ("mimo", "modelopt-fp8-block", "clean"),
    # Metadata that vLLM hands on to another method, which quantizes experts alone.
    ("kimi_k3", "ct-mxfp4", "load_error"),
    # Scales of activations, which are parameters where the metadata says that they are static.
    ("qwen3_next", "fp8-tensor", "clean"),
    ("qwen3_next", "fp8-tensor-dynamic", "clean"),
    ("qwen3_next", "ct-fp8-tensor", "clean"),
    ("qwen3_next", "quark-fp8", "clean"),
)
"""Family, recipe, and what vLLM 0.32.0 does."""
COMPANIONS = (
    ("nemotron_h_vl", "auto-round", "quantization_config.json"),
    ("nemotron_h_vl", "gptq", "quantize_config.json"),
    ("nemotron_h_vl", "awq", "quantize_config.json"),
    ("nemotron_h_vl", "awq", "quant_config.json"),
)
"""Family, recipe, and the file beside `config.json` with which vLLM 0.32.0 loads the draft."""


@pytest.mark.parametrize(("family", "scheme", "outcome"), BLOCKS)
def test_what_vllm_does_is_foreseen(family: str, scheme: str, outcome: str, tmp_path: Path) -> None:
    variant = tiny.variant(family, scheme)
    forge(family, tmp_path, scheme, variant=variant, mtp="quantized")
    report = mtpfix.check(tmp_path, vllm=["0.32.0"])
    assert report.engines[0].outcome == outcome
    assert report.exit_code == (outcome != "clean")


def with_companion(folder: Path, file: str) -> None:
    """Writes what `config.json` says of quantization into another file too."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / file).write_text(json.dumps(config["quantization_config"]), encoding="utf-8")


@pytest.mark.parametrize(("family", "scheme", "file"), COMPANIONS)
@pytest.mark.parametrize("mtp", ["quantized", "bf16"])
def test_the_file_that_the_draft_reads_counts(
    family: str, scheme: str, file: str, mtp: Mtp, tmp_path: Path
) -> None:
    forge(family, tmp_path, scheme, mtp=mtp)
    with_companion(tmp_path, file)
    due = "clean" if mtp == "quantized" else "silent_garbage"
    files = [] if mtp == "quantized" else ["config.json", file]
    assert mtpfix.check(tmp_path, vllm=["0.32.0"]).engines[0].outcome == due
    made = mtpfix.rewrite(tmp_path, vllm=["0.32.0"], platforms=["cuda"], backup=False, write=True)
    assert made.after.engines[0].outcome == "clean"
    assert sorted(made.files) == sorted(files)


def with_copy(folder: Path, **changed: object) -> None:
    """Writes the metadata into the text configuration too, where vLLM's draft looks first."""
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    stated = config["quantization_config"]
    config["text_config"]["quantization_config"] = {**stated, **changed}
    file.write_text(json.dumps(config), encoding="utf-8")


def test_a_copy_of_the_metadata_lets_the_draft_be_built(tmp_path: Path) -> None:
    forge("nemotron_h_vl", tmp_path, "ct-fp8-channel", mtp="quantized")
    assert mtpfix.check(tmp_path, vllm=["0.32.0"]).engines[0].outcome == "load_error"
    with_copy(tmp_path)
    assert mtpfix.check(tmp_path, vllm=["0.32.0"]).engines[0].outcome == "clean"


def test_a_copy_that_says_otherwise_is_unknown(tmp_path: Path) -> None:
    forge("nemotron_h_vl", tmp_path, "ct-fp8-channel", mtp="quantized")
    with_copy(tmp_path, ignore=["re:.*"])
    found = mtpfix.check(tmp_path, vllm=["0.32.0"])
    assert found.exit_code == 3
    assert "make both say the same" in found.findings[0].message
