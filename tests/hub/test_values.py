"""Values of a repo: the bytes of the block travel by ranges, and little else."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import mtpfix
from tests.hub.server import Hub, Repo, sparse
from tools.forge import forge

NAME = "org/model"
FAULT = "mtp.layers.0.self_attn.o_proj.weight"


def test_a_fault_in_a_repo_is_found_as_in_the_folder(hub: Hub, tmp_path: Path) -> None:
    forge("qwen3_5", tmp_path, "ct-fp8-channel", shards=3)
    file = tmp_path / "model-00003-of-00003.safetensors"
    tensors = load_file(file)
    tensors[FAULT][0, 0] = torch.inf
    save_file(tensors, file)
    hub.repos[NAME] = Repo()
    hub.repos[NAME].commit({p.name: sparse(p.read_bytes()) for p in tmp_path.iterdir()})

    found = mtpfix.check(NAME, values=True)
    assert "MTP501" in {finding.code for finding in found.findings}
    assert found.findings == mtpfix.check(tmp_path, values=True).findings
    weights = [sent for _, path, sent in hub.requests if path.endswith(".safetensors")]
    assert all(weights), "a shard was asked for without a range"
