"""Repairs in every dialect, proved by loading, on families that are quick to load.

docs/proof.md has more families for each recipe, proved by `tools.prove`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mtpfix.engines.vllm.live import Server
from tools.prove import prove

pytestmark = pytest.mark.live

CASES = {
    "auto-round": ("qwen3_5",),
    "quark-fp8": ("glm4_moe",),
    "fp8-block": ("mimo", "step3p5", "longcat_flash"),
    "fp8-tensor": ("qwen3_next",),
    "deepseek-v4-fp8": ("deepseek_v4",),
    "deepseek-v4-fp4": ("deepseek_v4",),
    "modelopt-nvfp4": ("mimo", "glm4_moe"),
    "modelopt-w4a16": ("mimo",),
    "modelopt-fp8": ("mimo",),
    "modelopt-mxfp8": ("mimo",),
    "awq": ("mimo", "glm4_moe"),
    "gptq": ("glm4_moe",),
}
"""By recipe: the families whose repair is proved here."""
PAIRS = [(family, scheme) for scheme, families in CASES.items() for family in families]


@pytest.mark.parametrize(("family", "scheme"), PAIRS)
def test_an_unquantized_block_loads_after_the_repair(
    server: Server, family: str, scheme: str, tmp_path: Path
) -> None:
    proof = prove(server, family, scheme, tmp_path / "model")
    assert proof.faults == ()
    assert not proof.before.startswith("clean")
    assert proof.after.startswith("clean")


@pytest.mark.parametrize(("family", "scheme"), [(f[0], scheme) for scheme, f in CASES.items()])
def test_a_quantized_block_is_left_alone(
    server: Server, family: str, scheme: str, tmp_path: Path
) -> None:
    proof = prove(server, family, scheme, tmp_path / "model", "quantized")
    assert (proof.faults, proof.added) == ((), ())
    assert proof.after.startswith("clean")
