"""NVFP4 without the scale of its activations, as a real SGLang 0.5.23 was seen to load it.

A Blackwell quantizes activations by it; a Hopper has weights alone in FP4, and drops it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from mtpfix import api
from mtpfix.model import Platform
from tools.forge import forge

LOST = (
    ".experts.1.gate_proj.",
    ".experts.1.down_proj.",
    ".self_attn.q_proj.",
    ".self_attn.o_proj.",
)


@pytest.mark.parametrize("lost", [None, *LOST])
@pytest.mark.parametrize(
    ("platform", "outcome"), [("cuda", "clean"), ("cuda:10.0", "silent_garbage")]
)
def test_the_scale_of_activations(
    tmp_path: Path, lost: str | None, platform: Platform, outcome: str
) -> None:
    forged = forge("glm4_moe", tmp_path, "ct-nvfp4", mtp="quantized")
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    for name in forged.mtp if lost else ():
        if name.endswith("input_global_scale") and lost is not None and lost in name:
            del tensors[name]
    save_file(tensors, file, metadata={"format": "pt"})
    report = api.check(tmp_path, sglang=["0.5.23"], platforms=[platform])
    assert report.engines[0].outcome == (outcome if lost else "clean")
