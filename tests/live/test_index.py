"""Indexes that are wrong about the MTP block, on a real vLLM, before and after `mtpfix rewrite`."""

from __future__ import annotations

from pathlib import Path

import pytest

import mtpfix
from mtpfix.engines.vllm.live import Server
from tools.forge import forge
from tools.index_faults import MENDED, REFUSED, other_format
from tools.prove import loading_faults, outcome
from tools.prove_index import prove

pytestmark = pytest.mark.live

OTHERS = (("deepseek_v3", "ct-w4a16"), ("qwen3_5", "modelopt-nvfp4"), ("mimo", "awq"))
HARMLESS = {"part-unnamed", "wrong-shard-for-some", "stale-name", "block-alone"}
"""Faults that the draft loads clean in spite of: `mtpfix check` minds them, or the target does."""


@pytest.mark.parametrize("kind", MENDED)
def test_a_wrong_index_is_corrected_and_the_block_loads(
    server: Server, kind: str, tmp_path: Path
) -> None:
    proof = prove(server, "glm4_moe", "ct-fp8-channel", kind, tmp_path / "model", ready=True)
    assert proof.before.startswith("clean") is (kind in HARMLESS)
    assert (proof.faults, proof.added) == ((), ())


@pytest.mark.parametrize(("family", "scheme"), OTHERS)
def test_one_rewrite_corrects_index_and_metadata(
    server: Server, family: str, scheme: str, tmp_path: Path
) -> None:
    proof = prove(server, family, scheme, "unnamed", tmp_path / "model")
    assert not proof.before.startswith("clean")
    assert proof.added
    assert proof.faults == ()


@pytest.mark.parametrize("kind", REFUSED)
def test_what_no_edit_of_the_index_mends_is_left_alone(
    server: Server, kind: str, tmp_path: Path
) -> None:
    proof = prove(server, "glm4_moe", "ct-fp8-channel", kind, tmp_path / "model", ready=True)
    assert proof.faults == ()
    assert proof.before.startswith("clean") is (kind in ("leftover", "doubled"))


def test_another_format_is_left_by_a_flag(server: Server, tmp_path: Path) -> None:
    block = forge("glm4_moe", tmp_path, shards=3).mtp
    mtpfix.rewrite(tmp_path, vllm=["0.32.0"], platforms=["cuda"], backup=False, write=True)
    other_format(tmp_path, block)
    switched = server.ask(tmp_path, load=True, load_format="auto")
    assert outcome(switched).startswith("silent_garbage")
    answer = server.ask(tmp_path, load=True, load_format="safetensors")
    assert loading_faults(answer, "glm4_moe", block) == []
