"""What it takes to construct dots.note 3 on a CPU."""

from __future__ import annotations

import importlib
import sys
from typing import Any
from unittest.mock import MagicMock

from ..._child.patch import always, module, patch
from ..._child.standins import NoAttention, NoBackend


@patch(only=("dots3_note",))
def dots3_note_for_cpu() -> None:
    """dots3.note is imported without Flash Attention and DeepGEMM: their CUDA builds are missing.

    Its attention backends are dummies, and the tokenizer's image token is made up: nothing of
    that decides how a layer is quantized.
    """
    for name in (
        "vllm.vllm_flash_attn",
        "vllm.vllm_flash_attn.flash_attn_interface",
        "vllm.third_party.deep_gemm",
    ):
        sys.modules[name] = MagicMock(name=name)
    vars(module("vllm.v1.attention.backends.fa_utils"))["__getattr__"] = missing
    model: Any = importlib.import_module("vllm.models.dots3_note.nvidia.model")
    model.Dots3NoteTritonMLABackend = NoBackend
    model.Dots3NotePaddedSparseBackend = NoBackend
    model.Dots3NoteFlashAttnPrefillBackend = NoAttention
    towers: Any = importlib.import_module("vllm.models.dots3_note.nvidia.multimodal")
    towers.get_hf_file_to_dict = always({towers.IMAGE_PAD: 500})


def missing(name: str) -> Any:
    """What stands for a name that a module lacks in the CPU build."""
    if name.startswith("__"):
        raise AttributeError(name)
    return MagicMock(name=name)
