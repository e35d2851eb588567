"""Mixes of groups as llm-compressor writes them, and hostile ones: ours and vLLM's decisions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtpfix.engines.vllm.live import Server
from mtpfix.engines.vllm.verify import compared
from tests.live.asking import subject_of
from tools.forge import forge

pytestmark = pytest.mark.live

Group = dict[str, Any]

WEIGHT_8 = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel"}
TOKEN_8 = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "token", "dynamic": True}
INT_8 = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
INT_8_TOKEN = {**INT_8, "strategy": "token", "dynamic": True}
INT_4 = {**INT_8, "num_bits": 4, "strategy": "group", "group_size": 32}
FP_4 = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "tensor_group",
        "group_size": 16}  # fmt: skip


def fp8(*targets: str, **more: Any) -> Group:
    return {"targets": [*targets], "weights": WEIGHT_8, "input_activations": TOKEN_8,
            "format": "float-quantized", **more}  # fmt: skip


def int8(*targets: str) -> Group:
    return {"targets": [*targets], "weights": INT_8, "input_activations": INT_8_TOKEN,
            "format": "int-quantized"}  # fmt: skip


def int4(*targets: str) -> Group:
    return {"targets": [*targets], "weights": INT_4, "format": "pack-quantized"}


def nvfp4(*targets: str) -> Group:
    return {"targets": [*targets], "weights": FP_4, "format": "nvfp4-pack-quantized"}


MIXES: dict[str, list[Group]] = {
    "a format for each group": [
        nvfp4("Linear"),
        fp8("re:.*self_attn.*"),
        int4("re:.*shared_expert.*"),
    ],
    "a class against names": [int4("re:.*down_proj$"), fp8("Linear"), int8("re:.*o_proj$")],
    "shards in two groups": [fp8("re:.*(q|k)_proj$", "re:.*gate_proj$"), int8("re:.*(v|up)_proj$")],
    "a shard in none": [fp8("re:.*(q|k)_proj$"), int4("re:.*experts.*(gate|up)_proj$")],
    "projections of experts apart": [fp8("re:.*(gate|up)_proj$"), int4("re:.*experts.*down_proj$")],
    "no format of its own": [fp8("Linear"), {**int8("re:.*o_proj$"), "format": None}],
    "experts by class": [int4("RoutedExperts", "FusedMoE"), fp8("re:.*attn.*")],
    "attention for the cache": [fp8("Attention"), int8("Linear")],
    "a head too": [fp8("Linear", "re:.*head$"), int8("re:mtp.*head", "re:.*fc$")],
}


FAMILIES = ("qwen3_next", "glm4_moe")
PAIRS = [(FAMILIES[number % len(FAMILIES)], mix) for number, mix in enumerate(MIXES)]
"""The mixes, the families in turn."""


@pytest.mark.parametrize(("family", "mix"), PAIRS)
def test_vllm_builds_what_we_foresee(server: Server, family: str, mix: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    forge(family, folder, "none")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": "mixed-precision",
        "config_groups": {f"group_{i}": group for i, group in enumerate(MIXES[mix])},
        "ignore": ["lm_head", "re:.*mlp.gate$"],
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    answer = compared(subject_of(folder), server.ask(folder, tolerant=True))
    assert answer.modules
    assert [m for m in answer.modules if not m.foreseen] == []
