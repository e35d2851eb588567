"""What `names --stored` prints for a recipe, loaded: a block that is stored so, by each method."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import mtpfix
from mtpfix.engines.vllm.live import Server
from tests.live.test_proof import RELEASE
from tools import tiny
from tools.forge import forge
from tools.prove import loading_faults, outcome
from tools.quantizers import QUANTIZERS, packed

pytestmark = pytest.mark.live

GROUP = 128
"""Inputs that share a scale in what `names` takes for a recipe of GPTQ or AutoRound."""
CASES = [
    ("glm4_moe", "modelopt", "nvfp4", "modelopt-fp8", "modelopt-nvfp4"),
    ("mimo", "modelopt", "fp8-channel", "modelopt-fp8", "modelopt-fp8-channel"),
    ("glm4_moe", "modelopt_fp4", "fp8-tensor", "modelopt-nvfp4", "modelopt-fp8"),
    ("mimo", "modelopt_mixed", "mxfp8", "modelopt-mixed", "modelopt-mxfp8"),
    ("glm4_moe", "modelopt_mxfp8", "nvfp4", "modelopt-mxfp8", "modelopt-nvfp4"),
    ("glm4_moe", "quark", "fp8-block", "quark-fp8", "quark-fp8-block"),
    ("glm4_moe", "quark", "mxfp4", "quark-fp8", "quark-mxfp4"),
    ("glm4_moe", "auto-round", "w8a16", "auto-round", "auto-round-8-bit"),
    ("qwen3_5", "gptq", "w8a16", "gptq", "gptq-8-bit"),
    ("glm4_moe", "awq", "w4a16", "awq", "awq"),
    ("glm4_moe", "fp8", "fp8-block", "fp8-block", "fp8-block"),
]
"""Family, method, how the block is stored, and what trunk and block are forged by."""


def _auto_round(module: str, weight: Any) -> Any:
    """Packed as by GPTQ, without the order of inputs."""
    stored = packed.gptq(8, GROUP)(module, weight)
    return {name: tensor for name, tensor in stored.items() if not name.endswith("g_idx")}


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_block_that_is_stored_so_loads_under_what_is_printed(
    server: Server,
    case: tuple[str, str, str, str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    family, method, stored, trunk, block = case
    monkeypatch.setitem(QUANTIZERS, "auto-round-8-bit", _auto_round)
    monkeypatch.setitem(QUANTIZERS, "gptq-8-bit", packed.gptq(8, GROUP))
    variant = tiny.variant(family, trunk)
    made = forge(family, tmp_path, trunk, variant=variant, block=block, mtp="quantized")
    file = tmp_path / "config.json"
    found = mtpfix.names_of(file, vllm=[RELEASE], method=method, stored=stored)
    assert found.exit_code == 0
    config = json.loads(file.read_text(encoding="utf-8"))
    printed = found.metadata or {found.key: list(found.entries)}
    config["quantization_config"] = merged(config["quantization_config"], printed)
    file.write_text(json.dumps(config), encoding="utf-8")
    answer = server.ask(tmp_path, load=True)
    assert outcome(answer).startswith("clean")
    assert loading_faults(answer, family, made.mtp) == []


def merged(old: Any, new: Any) -> Any:
    """Return metadata with what is printed added to them."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {**old, **{key: merged(old.get(key), value) for key, value in new.items()}}
    if isinstance(old, list) and isinstance(new, list):
        return [*old, *(item for item in new if item not in old)]
    return new
