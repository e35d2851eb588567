"""FP8 in blocks: parts of a fused layer that do not end where a block does.

The outcomes are those of a real vLLM 0.32.0 and SGLang 0.5.23, asked about the same checkpoints.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import mtpfix
from tools.forge import forge

ENDS = {".gate_proj": 0, ".up_proj": 0, ".down_proj": 1}
"""End of a module's name -> the dimension of its weight that is the intermediate size."""
KEYS = {".mlp.": "intermediate_size", ".experts.": "moe_intermediate_size"}
"""Part of a module's name -> the field of the configuration that states that size."""


def resized(folder: Path, family: str, scheme: str, below: str, size: int) -> None:
    """Make a checkpoint in FP8 blocks whose modules below a name have another intermediate size."""
    forge(family, folder, scheme, mtp="quantized")
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, KEYS[below]: size}), encoding="utf-8")
    shard = folder / "model.safetensors"
    tensors = load_file(shard)
    for name, tensor in tensors.items():
        module, _, suffix = name.rpartition(".")
        dimension = next((d for end, d in ENDS.items() if module.endswith(end)), None)
        if dimension is None or below not in module:
            continue
        shape = list(tensor.shape)
        shape[dimension] = size if suffix == "weight" else -(-size // 128)
        tensors[name] = torch.ones(shape).to(tensor.dtype)
    save_file(tensors, shard, metadata={"format": "pt"})


CASES = [("mimo", ".mlp.", 384), ("mimo", ".mlp.", 192), ("nemotron_h", ".experts.", 192)]


@pytest.mark.parametrize("engine", ["vllm==0.32.0", "sglang==0.5.23"])
@pytest.mark.parametrize("scheme", ["ct-fp8-block", "fp8-block"])
@pytest.mark.parametrize("case", CASES)
def test_parts_end_where_a_block_does(
    tmp_path: Path, engine: str, scheme: str, case: tuple[str, str, int]
) -> None:
    family, below, size = case
    resized(tmp_path, family, scheme, below, size)
    (judged,) = mtpfix.inspect(tmp_path, engines=engine).engines
    assert judged.outcome == ("clean" if size % 128 == 0 else "load_error")


@pytest.mark.parametrize(
    ("family", "below", "said"),
    [
        ("mimo", ".mlp.", ["a fused layer in FP8 blocks"]),
        ("nemotron_h", ".experts.", ["experts in FP8 blocks", "a fused layer in FP8 blocks"]),
    ],
)
def test_why_is_told(tmp_path: Path, family: str, below: str, said: list[str]) -> None:
    resized(tmp_path, family, "ct-fp8-block", below, 192)
    report = mtpfix.inspect(tmp_path, vllm="0.32.0", trunk=True)
    errors = [finding.message for finding in report.findings if finding.severity == "error"]
    assert [why for why in said if not any(why in message for message in errors)] == []
    assert all(any(why in message for why in said) for message in errors)


@pytest.mark.parametrize(("target", "outcome"), [("Linear", "clean"), ("re:.*proj", "load_error")])
def test_sglang_asks_linear_how_large_blocks_are(tmp_path: Path, target: str, outcome: str) -> None:
    forge("mimo", tmp_path, "ct-fp8-block", mtp="quantized")
    config = json.loads((tmp_path / "config.json").read_bytes())
    for group in config["quantization_config"]["config_groups"].values():
        group["targets"] = [target]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (judged,) = mtpfix.inspect(tmp_path, sglang="0.5.23").engines
    assert judged.outcome == outcome


@pytest.mark.parametrize(
    ("size", "outcome"), [(96, "silent_garbage"), (224, "silent_garbage"), (64, "load_error")]
)
@pytest.mark.parametrize("method", ["fp8", "modelopt"])
def test_scales_find_a_place_and_cover_other_rows(
    tmp_path: Path, method: str, size: int, outcome: str
) -> None:
    """As many rows of scales are on disk as the fused layer has: the real one raises nothing."""
    if method == "fp8":
        resized(tmp_path, "mimo", "fp8-block", ".mlp.", size)
    else:
        _narrow_gate(tmp_path, size)
    (judged,) = mtpfix.inspect(tmp_path, engines="vllm==0.32.0").engines
    assert judged.outcome == outcome


def _narrow_gate(folder: Path, size: int) -> None:
    """Make a ModelOpt checkpoint in FP8 blocks with narrow gates, and what follows them plain."""
    forge(
        "mimo",
        folder,
        "modelopt-fp8-block",
        mtp="quantized",
        ignore=["lm_head", "*down_proj*"],
    )
    config = json.loads((folder / "config.json").read_bytes()) | {"intermediate_size": size}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shard = folder / "model.safetensors"
    tensors = load_file(shard)
    for name, tensor in list(tensors.items()):
        module, _, suffix = name.rpartition(".")
        if module.endswith((".gate_proj", ".up_proj")):
            rows = size if suffix == "weight" else -(-size // 128)
            tensors[name] = torch.ones(rows, *tensor.shape[1:]).to(tensor.dtype)
        elif module.endswith(".down_proj") and suffix == "weight":
            tensors[name] = torch.ones(tensor.shape[0], size, dtype=torch.bfloat16)
        elif module.endswith(".down_proj"):
            del tensors[name]
    save_file(tensors, shard, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("release", "size", "outcome", "said"),
    [
        ("0.28.0", 64, "load_error", None),
        ("0.28.0", 96, "load_error", "requires out_features divisible by 128"),
        ("0.28.0", 192, "load_error", None),
        ("0.28.0", 224, "load_error", "requires out_features divisible by 128"),
        ("0.28.0", 256, "clean", None),
        ("0.29.0", 64, "load_error", None),
        ("0.29.0", 96, "silent_garbage", None),
        ("0.29.0", 192, "load_error", None),
        ("0.29.0", 256, "clean", None),
    ],
)
def test_modelopt_asked_more_of_sizes_once(
    tmp_path: Path, release: str, size: int, outcome: str, said: str | None
) -> None:
    """As the real releases; 0.29.0 loads scales of other rows without a word."""
    _narrow_gate(tmp_path, size)
    (judged,) = mtpfix.inspect(tmp_path, vllm=release).engines
    assert judged.outcome == outcome
    assert said is None or said in (judged.error or "")


@pytest.mark.parametrize(
    ("release", "row"), [("0.28.0", "out_features"), ("0.29.0", "in_features")]
)
def test_modelopt_asked_for_the_width_before_it_was_shared(
    tmp_path: Path, release: str, row: str
) -> None:
    resized(tmp_path, "mimo", "modelopt-fp8-block", ".mlp.", 96)
    (judged,) = mtpfix.inspect(tmp_path, vllm=release).engines
    assert judged.outcome == "load_error"
    assert f"requires {row} divisible by 128" in (judged.error or "")


@pytest.mark.parametrize(
    ("family", "below", "size", "outcome"),
    [
        ("mimo", ".mlp.", 96, "load_error"),
        ("mimo", ".mlp.", 256, "clean"),
        ("glm4_moe", ".experts.", 192, "load_error"),
        ("nemotron_h", ".experts.", 256, "load_error"),
    ],
)
def test_quark_ends_where_a_block_does(
    tmp_path: Path, family: str, below: str, size: int, outcome: str
) -> None:
    """The one of Nemotron-H is a projection of the target model, whose experts are large enough."""
    resized(tmp_path, family, "quark-fp8-block", below, size)
    (judged,) = mtpfix.inspect(tmp_path, vllm="0.32.0").engines
    assert judged.outcome == outcome
    assert judged.error is None or "is not divisible by weight quantization block_n" in judged.error


def test_experts_of_modelopt_end_where_a_block_does(tmp_path: Path) -> None:
    resized(tmp_path, "nemotron_h", "modelopt-mixed-fp8-block", ".experts.", 192)
    (judged,) = mtpfix.inspect(tmp_path, engines="vllm==0.32.0").engines
    assert judged.outcome == "load_error"


@pytest.mark.parametrize(
    ("family", "scheme", "engine", "module"),
    [
        ("nemotron_h", "ct-fp8-block", "vllm==0.32.0", "mixer.in_proj"),
        ("nemotron_h", "fp8-block", "vllm==0.32.0", "mixer.in_proj"),
        ("nemotron_h", "fp8-block", "sglang==0.5.23", "mixer.in_proj"),
        ("qwen3_next", "fp8-block", "sglang==0.5.23", "linear_attn.in_proj_ba"),
        ("qwen3_next", "ct-fp8-block", "sglang==0.5.23", "linear_attn.in_proj_ba"),
        ("qwen3_next", "ct-fp8-block", "vllm==0.32.0", None),
        ("qwen3_5", "ct-fp8-block", "vllm==0.32.0", None),
        ("qwen3_5", "ct-fp8-block", "sglang==0.5.23", None),
    ],
)
def test_the_target_is_built_of_parts_that_its_configuration_tells(
    tmp_path: Path, family: str, scheme: str, engine: str, module: str | None
) -> None:
    """One projection on disk is several parts to the engine: all of the target was really built."""
    forge(family, tmp_path, scheme, mtp="quantized")
    (judged,) = mtpfix.inspect(tmp_path, engines=engine, trunk=True).engines
    wrong = [
        report.decision.module.name
        for report in judged.modules
        if report.decision.module.part == "trunk" and report.consequence == "load_error"
    ]
    assert [name for name in wrong if module is None or not name.endswith(module)] == []
    assert bool(wrong) == (module is not None)
    config = json.loads((tmp_path / "config.json").read_bytes())
    for key in ("mamba_num_heads", "linear_num_value_heads"):
        config.pop(key, None)
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (unsized,) = mtpfix.inspect(tmp_path, engines=engine, trunk=True).engines
    assert unsized.outcome != "unknown"


def test_scales_of_four_dimensions_have_one_element_in_two_of_them(tmp_path: Path) -> None:
    """`down_proj.weight_scale` is [2, 2, 2, 1] here, and a real vLLM 0.32.0 asserts it is not."""
    resized(tmp_path, "mimo", "modelopt-fp8-block", ".mlp.", 256)
    (judged,) = mtpfix.inspect(tmp_path, vllm="0.32.0").engines
    draft = [r for r in judged.modules if r.decision.module.part == "draft" and r.detail]
    assert judged.outcome == "load_error"
    assert [(r.members, r.detail) for r in draft] == [
        (("model.mtp_layers.0.mlp.down_proj",), "AssertionError: ")
    ]
