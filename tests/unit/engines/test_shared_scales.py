"""Static FP8 experts have one scale of activations for gate and up: either tensor fills it.

The outcomes are those of a real vLLM 0.32.0 and SGLang 0.5.23.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import mtpfix
from tools.forge import forge

EITHER = [("gate_proj",), ("up_proj",)]
NEITHER = [("gate_proj", "up_proj"), ("down_proj",)]


@pytest.mark.parametrize("lost", [*EITHER, *NEITHER])
@pytest.mark.parametrize("engine", ["vllm==0.32.0", "sglang==0.5.23"])
def test_an_expert_needs_one_of_two(tmp_path: Path, engine: str, lost: tuple[str, ...]) -> None:
    forged = forge("glm4_moe", tmp_path, "modelopt-fp8", mtp="quantized")
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    gone = {f".experts.1.{part}.input_scale" for part in lost}
    for name in forged.mtp:
        if name.endswith(tuple(gone)):
            del tensors[name]
    save_file(tensors, file, metadata={"format": "pt"})
    (judged,) = mtpfix.inspect(tmp_path, engines=[engine]).engines
    assert judged.outcome == ("clean" if lost in EITHER else "silent_garbage")
