"""What a load in SGLang comes to, as a real 0.5.23 was seen to end (`tools.prove_random`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import mtpfix
from tools import sglang_tiny, tiny
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
    # HY4 renames every `weight_scale`, and permutes the scales of its indexer like the weights.
    ("hy_v4", "ct-fp8-channel", "quantized", "load_error"),
    ("hy_v4", "fp8-block", "quantized", "load_error"),
)
FAMILIES = [
    family
    for family in sglang_tiny.families()
    if sglang_tiny.like(family) == family and family not in ("glm5_next", "glm_ocr", "step3p5")
]
"""Those of which a whole checkpoint is clean: of the loads of two not all is known, and 0.5.23
refuses the configuration of one."""
UNREAD = ("embed_tokens.weight", "tok_emb.weight", "head.weight", "confidence_head.proj.weight")
"""Ends of tensors of a draft that SGLang does not read, or has from the target model."""


@pytest.mark.parametrize(("family", "scheme", "mtp", "outcome"), SEEN)
def test_the_outcome_of_a_load_is_foreseen(
    family: str, scheme: str, mtp: Mtp, outcome: str, tmp_path: Path
) -> None:
    forge(family, tmp_path, scheme, mtp=mtp, variant=sglang_tiny.variant(family, scheme))
    sglang_tiny.adapt(tmp_path, family)
    assert foreseen(tmp_path, RELEASE) == outcome


@pytest.mark.parametrize("family", FAMILIES)
def test_no_draft_is_clean_that_lacks_a_tensor(family: str, tmp_path: Path) -> None:
    """The real one left a parameter uninitialised for each, or hid that it did (LongCat scales)."""
    variant = sglang_tiny.variant(family, "none")
    forge(family, tmp_path, "none", variant=variant)
    sglang_tiny.adapt(tmp_path, family)
    assert foreseen(tmp_path, RELEASE) == "clean"
    file = tmp_path / "model.safetensors"
    whole = load_file(file)
    trunk = {each.name for each in tiny.tensors(family, variant, "trunk")}
    for each in tiny.tensors(family, variant, "draft"):
        if each.name in trunk or each.name.endswith(UNREAD):
            continue
        lost = each.name.replace("*", "0")
        save_file({k: v for k, v in whole.items() if k != lost}, file, metadata={"format": "pt"})
        assert foreseen(tmp_path, RELEASE) == "silent_garbage", lost


def test_a_parameter_outside_modules_is_named(tmp_path: Path) -> None:
    forge("qwen3_5", tmp_path, "none")
    sglang_tiny.adapt(tmp_path, "qwen3_5")
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    del tensors["mtp.pre_fc_norm_embedding.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    cut = mtpfix.inspect(tmp_path, sglang=[RELEASE])
    assert "MTP006" in {finding.code for finding in cut.findings}


@pytest.mark.parametrize(
    ("stated", "outcome"), [(None, "clean"), (0, "clean"), (1, "clean"), (2, "load_error")]
)
def test_two_shared_experts_of_glm_4_are_not_loaded(
    stated: int | None, outcome: str, tmp_path: Path
) -> None:
    forge("glm4_moe", tmp_path, "none")
    path = tmp_path / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"n_shared_experts": stated}
    path.write_text(json.dumps(config), encoding="utf-8")
    assert foreseen(tmp_path, RELEASE) == outcome


@pytest.mark.parametrize("family", ["qwen3_5_moe", "qwen4_exp"])
@pytest.mark.parametrize("scheme", ["ct-w4a16", "ct-nvfp4"])
def test_stacked_experts_without_a_parameter_are_an_exception(
    family: str, scheme: str, tmp_path: Path
) -> None:
    """A real 0.5.23: `KeyError: 'model.layers.0.mlp.experts.w2_weight'`."""
    forge(family, tmp_path, scheme, mtp="bf16")
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    stem = "mtp.layers.0.mlp.experts."
    experts = [name for name in tensors if name.startswith(stem)]
    parts = {name: tensors.pop(name) for name in experts}
    numbers = sorted({name.removeprefix(stem).partition(".")[0] for name in parts}, key=int)
    pairs = (
        torch.cat([parts[f"{stem}{n}.gate_proj.weight"], parts[f"{stem}{n}.up_proj.weight"]])
        for n in numbers
    )
    tensors[f"{stem}gate_up_proj"] = torch.stack([*pairs])
    downs = (parts[f"{stem}{n}.down_proj.weight"] for n in numbers)
    tensors[f"{stem}down_proj"] = torch.stack([*downs])
    save_file(tensors, path)
    engine = mtpfix.inspect(tmp_path, sglang=["0.5.23"], platforms=["cuda"], trunk=True).engines[0]
    assert (engine.outcome, engine.error) == ("load_error", "KeyError: '….experts.w2_weight'")
