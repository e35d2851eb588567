"""Lost MTP blocks on a real vLLM, before and after `mtpfix graft`; docs/graft-proof.md has more."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtpfix.engines.vllm.live import Server
from tools.graft_cases import Asked
from tools.pairs import FP8
from tools.prove_graft import prove

pytestmark = pytest.mark.live

GRAFTED = (
    Asked("glm4_moe", "ct-fp8-channel"),
    Asked("deepseek_v4", "ct-w4a16"),
    Asked("ernie4_5_moe", "ct-nvfp4"),
    Asked("qwen3_next", "fp8-block"),
    Asked("mimo", "awq"),
    Asked("deepseek_v3", "modelopt-nvfp4", kind="shards"),
    Asked("minimax_m3", "ct-w4a16", kind="count-0"),
    Asked("qwen3_5", "modelopt-nvfp4", kind="no-count"),
    Asked("step3p7", "modelopt-nvfp4", kind="cut-lists"),
    Asked("mimo", "ct-w4a16", kind="norms"),
    Asked("glm4_moe", "ct-w4a16", kind="other-weights"),
    Asked("qwen3_5", "ct-w4a16", base="qwen3_5_text"),
    Asked("nemotron_h", "gptq", base="nemotron_h_vl"),
    Asked("nemotron_h_vl", "ct-w4a16"),
)
FROM_FP8 = (
    (Asked("deepseek_v3", "ct-nvfp4", FP8), "rename"),
    (Asked("deepseek_v3", "ct-nvfp4", FP8, precision="bf16"), "dequantize"),
    (Asked("glm4_moe", "fp8-block", FP8), "copy"),
    (Asked("mimo", "awq", FP8), "dequantize"),
)


@pytest.mark.parametrize("asked", GRAFTED, ids=str)
def test_a_lost_block_loads_after_the_graft(server: Server, asked: Asked, tmp_path: Path) -> None:
    proof = prove(server, asked, tmp_path)
    assert not proof.before.startswith("clean")
    assert proof.after.startswith("clean")
    assert proof.faults == ()


@pytest.mark.parametrize(("asked", "done"), FROM_FP8, ids=str)
def test_a_block_in_fp8_stays_so_or_becomes_bf16(
    server: Server, asked: Asked, done: str, tmp_path: Path
) -> None:
    proof = prove(server, asked, tmp_path)
    assert proof.after.startswith("clean")
    assert proof.brought.get(done)
    assert proof.faults == ()


def test_what_no_metadata_makes_clean_is_refused_and_left_alone(
    server: Server, tmp_path: Path
) -> None:
    proof = prove(server, Asked("step3p5", "ct-w4a16"), tmp_path)
    assert "MTP301" in proof.refused
    assert proof.faults == ()
