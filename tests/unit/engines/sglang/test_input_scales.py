"""Checkpoints without scales of activations, as a real SGLang 0.5.23 was seen to load them.

NVFP4: a Blackwell quantizes activations by it; a Hopper has weights alone in FP4, and drops it.
FP8 and INT8: it is read where the metadata say that activations are static.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import mtpfix
from mtpfix.model import Outcome, Platform
from tools import tiny
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
    report = mtpfix.check(tmp_path, sglang=["0.5.23"], platforms=[platform])
    assert report.engines[0].outcome == (outcome if lost else "clean")


STATIC_FP8 = ("ct-fp8-tensor", "fp8-tensor", "quark-fp8", "modelopt-fp8")
ALL = ("",)
EXPERTS = tuple(f".{i}.{part}_proj" for i in range(4) for part in ("gate", "up", "down"))


def lose(folder: Path, ends: tuple[str, ...]) -> None:
    """Delete the scales of activations of the MTP block whose modules end so."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    modules = {name: name.removesuffix(".input_scale") for name in tensors}
    lost = [n for n, m in modules.items() if n != m and ".layers.0." not in n and m.endswith(ends)]
    kept = {name: tensor for name, tensor in tensors.items() if name not in lost}
    assert not ends or lost
    save_file(kept, file, metadata={"format": "pt"})


@pytest.mark.parametrize("scheme", STATIC_FP8)
@pytest.mark.parametrize(
    ("lost", "outcome"),
    [
        ((), "clean"),
        ((".1.gate_proj",), "clean"),
        ((".1.up_proj",), "clean"),
        ((".1.gate_proj", ".1.up_proj"), "silent_garbage"),
        ((".1.down_proj",), "silent_garbage"),
        (
            tuple(f".{i}.{p}_proj" for i in range(4) for p in ("gate", "up", "down")),
            "silent_garbage",
        ),
        ((".q_proj",), "silent_garbage"),
        ((".o_proj",), "silent_garbage"),
        (ALL, "silent_garbage"),
    ],
)
def test_static_fp8(tmp_path: Path, scheme: str, lost: tuple[str, ...], outcome: Outcome) -> None:
    forge("glm4_moe", tmp_path, scheme, mtp="quantized")
    lose(tmp_path, lost)
    report = mtpfix.check(tmp_path, sglang=["0.5.23"])
    assert report.engines[0].outcome == outcome


def restated(folder: Path, group: dict[str, object]) -> None:
    """Change what the metadata say of their group, and store a scale of activations everywhere."""
    config = json.loads((folder / "config.json").read_text())
    tiny.merge(config, {"quantization_config": {"config_groups": {"group_0": group}}})
    (folder / "config.json").write_text(json.dumps(config))
    file = folder / "model.safetensors"
    tensors = load_file(file)
    ends = ".weight_scale"
    modules = [name.removesuffix(ends) for name in tensors if name.endswith(ends)]
    for module in modules:
        if group.get("weights"):
            tensors[module + ends] = tensors[module + ends].float().max().reshape(1)
        tensors[f"{module}.input_scale"] = torch.ones(1)
    save_file(tensors, file, metadata={"format": "pt"})


STATIC = {"input_activations": {"dynamic": False, "strategy": "tensor", "group_size": None}}
WHOLE = {**STATIC, "weights": {"strategy": "tensor"}}
INDEX = "IndexError: index … is out of bounds for dimension 0 with size 1"


@pytest.mark.parametrize(
    ("scheme", "group", "lost", "real"),
    [
        ("ct-fp8-channel", STATIC, (), ("clean", None)),
        ("ct-fp8-channel", STATIC, (".q_proj",), ("silent_garbage", None)),
        ("ct-fp8-channel", STATIC, (".down_proj",), ("silent_garbage", None)),
        ("ct-int8", STATIC, (), ("load_error", INDEX)),
        ("ct-int8", STATIC, (".q_proj",), ("load_error", INDEX)),
        ("ct-int8", STATIC, ALL, ("silent_garbage", None)),
        ("ct-int8", WHOLE, (), ("load_error", INDEX)),
        ("ct-int8", WHOLE, ALL, ("silent_garbage", None)),
        ("ct-fp8-block", STATIC, (), ("load_error", "AssertionError: ")),  # read: it needs a GPU
    ],
)
def test_static_activations(
    tmp_path: Path,
    scheme: str,
    group: dict[str, object],
    lost: tuple[str, ...],
    real: tuple[Outcome, str | None],
) -> None:
    """The INT8 of SGLang has room for one scale in a fused layer, and raises at a second."""
    forge("mimo", tmp_path, scheme, mtp="quantized")
    restated(tmp_path, group)
    lose(tmp_path, lost)
    (judged,) = mtpfix.check(tmp_path, sglang=["0.5.23"]).engines
    draft = [each for each in judged.modules if each.decision.module.part == "draft"]
    raised = {each.detail for each in draft if each.consequence == "load_error"}
    garbage = any(each.consequence == "silent_garbage" for each in draft)
    outcome = "load_error" if raised else "silent_garbage" if garbage else "clean"
    assert (outcome, next(iter(raised), None)) == real
