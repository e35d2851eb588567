"""The plugin in an environment that it is not installed in, and a model that starts there."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from mtpfix import __version__
from tools.forge import Mtp, forge

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]

STARTER = ROOT / "tools" / "starter.py"
"""Starts a whole engine; runs under the interpreter of a vLLM."""
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_ALLOW_INSECURE_SERIALIZATION": "1",  # the program that is sent to workers is ours
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Keeps a vLLM off the network, and small; lets it send functions to its workers."""


def pythonpath(folder: Path, behind: str | None = None) -> str:
    """Makes the notes of an installation in a folder.

    Args:
        folder: where they are written.
        behind: what stands in front on the module path: the wheel of a release.

    Returns:
        The module path under which a vLLM finds the plugin.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    notes = folder / f"mtpfix-{__version__}.dist-info"
    notes.mkdir(parents=True, exist_ok=True)
    head = f"Metadata-Version: 2.1\nName: mtpfix\nVersion: {__version__}\n"
    (notes / "METADATA").write_text(head, encoding="utf-8")
    lines: list[str] = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {place}" for name, place in entries.items())]
    (notes / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return os.pathsep.join(filter(None, (behind, str(ROOT), str(folder))))


def answered(printed: str) -> dict[str, Any]:
    """What the starter said, found among the lines that vLLM printed."""
    found: dict[str, Any] = json.loads(
        next(line for line in printed.splitlines() if line[:1] == "{")
    )
    return found


def servable(folder: Path, scheme: str = "ct-fp8-channel", mtp: Mtp = "bf16") -> None:
    """Makes a tiny MiMo that vLLM can start on a CPU, by default with wrong metadata.

    Trunk and draft both go by the last token alone, so that they agree on the next one: each
    drafted token is accepted where the draft is loaded as it is stored.

    Args:
        folder: where it is made.
        scheme: quantization of the trunk.
        mtp: how the MTP block is stored, which the metadata says nothing about.
    """
    forge("mimo", folder, scheme, mtp=mtp)
    weights = folder / "model.safetensors"
    save_file(agreeing(load_file(weights)), weights, metadata={"format": "pt"})
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoConfig": "configuration_mimo.MiMoConfig"}
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    code = "from transformers import Qwen2Config\n\n\nclass MiMoConfig(Qwen2Config):\n"
    (folder / "configuration_mimo.py").write_text(f'{code}    model_type = "mimo"\n')


def agreeing(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors, but no layer adds anything, and the draft takes the token as it is."""
    found = dict(weights)
    for name, weight in found.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            found[name] = torch.zeros_like(weight)
        elif name.endswith("norm.weight"):
            found[name] = torch.ones_like(weight)
        elif name.endswith("input_proj.weight"):  # of the hidden state and the token, side by side
            one = torch.eye(len(weight), dtype=weight.dtype)
            found[name] = torch.cat([torch.zeros_like(one), one], dim=1)
    return found
