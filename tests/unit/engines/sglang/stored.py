"""Forged checkpoints with tensors in other shapes, or layers that a recipe left alone."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

FILE = "model.safetensors"
JOINED = ("q_a_proj", "kv_a_proj_with_mqa", "kv_b_proj")
"""What SGLang joins, or asks for plain weights, in latent attention."""
JOINED_ENTRY = r"re:.*\.(fused_qkv_a_proj_with_mqa|q_a_proj|kv_a_proj_with_mqa|kv_b_proj)$"
"""The entry that leaves them unquantized."""


def unpack(folder: Path) -> Path:
    """Store these layers of a checkpoint in compressed-tensors' int-pack as plain weights."""
    tensors = load_file(folder / FILE)
    for name in [name for name in tensors if name.endswith(".weight_shape")]:
        module = name.removesuffix(".weight_shape")
        if module.rpartition(".")[2] in JOINED:
            shape = tensors[name].tolist()
            for suffix in ("weight_shape", "weight_scale", "weight_packed"):
                del tensors[f"{module}.{suffix}"]
            tensors[f"{module}.weight"] = torch.zeros(shape, dtype=torch.bfloat16)
    save_file(tensors, folder / FILE, metadata={"format": "pt"})
    return folder
