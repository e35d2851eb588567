"""MTP blocks packed in other bits and groups than the metadata states: foreseen as they load.

Recorded by loading them in vLLM 0.32.0: tests/live/test_repacked.py does it again.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import mtpfix
from tools import tiny
from tools.forge import forge
from tools.prove import predicted
from tools.repack import Packing, repack, restate

SHORT = "load_error: RuntimeError: start (0) + length (…) exceeds dimension size (…)."
DIFFERS = "load_error: AssertionError: "
LONG = "load_error: RuntimeError: The size of tensor a (…) must match the size of tensor b (…)"
ONE = "load_error: RuntimeError: output with shape […] doesn't match the broadcast shape […]"
CUT = "silent_garbage"
NEGATIVE = "load_error: RuntimeError: Trying to create tensor with negative dimension …"

Row = tuple[str, str, str, Packing, Packing, str]
"""Scheme, family, end of the names of the modules that are packed anew (empty: all of the MTP
block), what the metadata states, what is on disk, and what vLLM does."""

WHOLE: tuple[Row, ...] = (
    ("gptq", "qwen3_5", "", (4, 32), (8, 32), DIFFERS),
    ("gptq", "qwen3_5", "", (8, 32), (4, 32), DIFFERS),
    ("gptq", "qwen3_5", "", (4, 64), (4, 32), DIFFERS),
    ("gptq", "qwen3_5", "", (4, 32), (4, -1), DIFFERS),
    ("gptq", "glm4_moe", "", (4, 32), (8, 32), LONG),
    ("gptq", "glm4_moe", "", (8, 32), (4, 32), SHORT),
    ("gptq", "glm4_moe", "", (4, 64), (4, 32), LONG),
    ("gptq", "glm4_moe", "", (4, 32), (4, -1), SHORT),
    ("gptq", "deepseek_v3", "", (4, 32), (8, 32), LONG),
    ("gptq", "deepseek_v3", "", (8, 32), (4, 32), SHORT),
    ("gptq", "deepseek_v3", "", (4, 64), (4, 32), LONG),
    ("gptq", "deepseek_v3", "", (4, 32), (4, -1), SHORT),
    ("awq", "qwen3_5", "", (4, 32), (8, 32), DIFFERS),
    ("awq", "qwen3_5", "", (4, 64), (4, 32), DIFFERS),
    ("awq", "qwen3_5", "", (4, 32), (4, -1), DIFFERS),
    ("awq", "glm4_moe", "", (4, 32), (8, 32), LONG),
    ("awq", "glm4_moe", "", (4, 64), (4, 32), LONG),
    ("awq", "glm4_moe", "", (4, 32), (4, -1), SHORT),
    ("awq", "deepseek_v3", "", (4, 32), (8, 32), LONG),
    ("awq", "deepseek_v3", "", (4, 64), (4, 32), LONG),
    ("awq", "deepseek_v3", "", (4, -1), (4, 32), NEGATIVE),
    ("awq", "deepseek_v3", "", (4, 32), (4, -1), SHORT),
    ("auto-round", "qwen3_5", "", (4, 32), (8, 32), DIFFERS),
    ("auto-round", "qwen3_5", "", (8, 32), (4, 32), DIFFERS),
    ("auto-round", "qwen3_5", "", (4, 64), (4, 32), DIFFERS),
    ("auto-round", "qwen3_5", "", (4, 32), (4, -1), DIFFERS),
    ("auto-round", "glm4_moe", "", (4, 32), (8, 32), LONG),
    ("auto-round", "glm4_moe", "", (8, 32), (4, 32), SHORT),
    ("auto-round", "glm4_moe", "", (4, 64), (4, 32), LONG),
    ("auto-round", "glm4_moe", "", (4, 32), (4, -1), SHORT),
    ("auto-round", "deepseek_v3", "", (4, 32), (8, 32), LONG),
    ("auto-round", "deepseek_v3", "", (8, 32), (4, 32), SHORT),
    ("auto-round", "deepseek_v3", "", (4, 64), (4, 32), LONG),
    ("auto-round", "deepseek_v3", "", (4, 32), (4, -1), SHORT),
    ("ct-w4a16", "qwen3_5", "", (4, 32), (8, 32), DIFFERS),
    ("ct-w4a16", "qwen3_5", "", (8, 32), (4, 32), DIFFERS),
    ("ct-w4a16", "qwen3_5", "", (4, 64), (4, 32), DIFFERS),
    ("ct-w4a16", "qwen3_5", "", (4, 32), (4, -1), DIFFERS),
    ("ct-w4a16", "glm4_moe", "", (4, 32), (8, 32), LONG),
    ("ct-w4a16", "glm4_moe", "", (8, 32), (4, 32), SHORT),
    ("ct-w4a16", "glm4_moe", "", (4, 64), (4, 32), LONG),
    ("ct-w4a16", "glm4_moe", "", (4, 32), (4, -1), SHORT),
    ("ct-w4a16", "deepseek_v3", "", (4, 32), (8, 32), LONG),
    ("ct-w4a16", "deepseek_v3", "", (8, 32), (4, 32), SHORT),
    ("ct-w4a16", "deepseek_v3", "", (4, 64), (4, 32), LONG),
    ("ct-w4a16", "deepseek_v3", "", (4, 32), (4, -1), SHORT),
)
"""All of the block: the first module, by name, that refuses its tensors ends the load."""

ALONE: tuple[Row, ...] = (
    ("gptq", "deepseek_v3", "shared_experts.down_proj", (4, 32), (8, 32), DIFFERS),
    ("gptq", "deepseek_v3", "shared_experts.down_proj", (8, 32), (4, 32), SHORT),
    ("gptq", "deepseek_v3", "shared_experts.down_proj", (4, 64), (4, 32), CUT),
    ("gptq", "deepseek_v3", "shared_experts.down_proj", (4, -1), (4, 32), CUT),
    ("gptq", "deepseek_v3", "shared_experts.down_proj", (4, 32), (4, -1), SHORT),
    ("gptq", "deepseek_v3", "self_attn.q_a_proj", (4, 64), (4, 32), DIFFERS),
    ("gptq", "deepseek_v3", "self_attn.q_a_proj", (4, -1), (8, -1), DIFFERS),
    ("gptq", "deepseek_v3", "self_attn.kv_b_proj", (4, 64), (4, 32), DIFFERS),
    ("gptq", "deepseek_v3", "self_attn.o_proj", (4, 32), (8, 32), DIFFERS),
    ("gptq", "deepseek_v3", "self_attn.o_proj", (8, 32), (4, 32), SHORT),
    ("gptq", "deepseek_v3", "self_attn.o_proj", (4, 64), (4, 32), CUT),
    ("gptq", "deepseek_v3", "self_attn.o_proj", (4, -1), (4, 32), CUT),
    ("gptq", "deepseek_v3", "self_attn.o_proj", (4, 32), (4, -1), SHORT),
    ("gptq", "deepseek_v3", "experts.0.gate_proj", (4, 32), (8, 32), LONG),
    ("gptq", "deepseek_v3", "experts.0.gate_proj", (8, 32), (4, 32), CUT),
    ("gptq", "deepseek_v3", "experts.0.gate_proj", (4, 64), (4, 32), LONG),
    ("gptq", "deepseek_v3", "experts.0.gate_proj", (4, -1), (4, 32), ONE),
    ("gptq", "deepseek_v3", "experts.0.gate_proj", (4, 32), (4, -1), CUT),
    ("gptq", "deepseek_v3", "experts.0.down_proj", (4, 32), (8, 32), LONG),
    ("gptq", "deepseek_v3", "experts.0.down_proj", (8, 32), (4, 32), CUT),
    ("gptq", "deepseek_v3", "experts.0.down_proj", (4, 64), (4, 32), LONG),
    ("gptq", "deepseek_v3", "experts.0.down_proj", (4, -1), (4, 32), ONE),
    ("gptq", "deepseek_v3", "experts.0.down_proj", (4, 32), (4, -1), CUT),
    ("awq", "deepseek_v3", "shared_experts.down_proj", (4, 32), (8, 32), DIFFERS),
    ("awq", "deepseek_v3", "shared_experts.down_proj", (4, 64), (4, 32), CUT),
    ("awq", "deepseek_v3", "shared_experts.down_proj", (4, 32), (4, -1), SHORT),
    ("awq", "deepseek_v3", "self_attn.q_a_proj", (4, 32), (8, 32), CUT),
    ("awq", "deepseek_v3", "self_attn.q_a_proj", (4, 64), (4, 32), DIFFERS),
    ("awq", "deepseek_v3", "self_attn.kv_b_proj", (4, 32), (8, 32), CUT),
    ("awq", "deepseek_v3", "self_attn.kv_b_proj", (4, 64), (4, 32), DIFFERS),
    ("awq", "deepseek_v3", "self_attn.o_proj", (4, 32), (8, 32), DIFFERS),
    ("awq", "deepseek_v3", "self_attn.o_proj", (4, 64), (4, 32), CUT),
    ("awq", "deepseek_v3", "self_attn.o_proj", (4, 32), (4, -1), SHORT),
    ("awq", "deepseek_v3", "experts.0.gate_proj", (4, 32), (8, 32), LONG),
    ("awq", "deepseek_v3", "experts.0.gate_proj", (4, 64), (4, 32), LONG),
    ("awq", "deepseek_v3", "experts.0.gate_proj", (4, 32), (4, -1), CUT),
    ("awq", "deepseek_v3", "experts.0.down_proj", (4, 32), (8, 32), LONG),
    ("awq", "deepseek_v3", "experts.0.down_proj", (4, 64), (4, 32), LONG),
    ("awq", "deepseek_v3", "experts.0.down_proj", (4, 32), (4, -1), CUT),
    ("ct-w4a16", "deepseek_v3", "shared_experts.down_proj", (4, 32), (8, 32), CUT),
    ("ct-w4a16", "deepseek_v3", "shared_experts.down_proj", (8, 32), (4, 32), SHORT),
    ("ct-w4a16", "deepseek_v3", "shared_experts.down_proj", (4, 64), (4, 32), CUT),
    ("ct-w4a16", "deepseek_v3", "shared_experts.down_proj", (4, -1), (4, 32), CUT),
    ("ct-w4a16", "deepseek_v3", "shared_experts.down_proj", (4, 32), (4, -1), SHORT),
    ("ct-w4a16", "deepseek_v3", "self_attn.q_a_proj", (4, 64), (4, 32), DIFFERS),
    ("ct-w4a16", "deepseek_v3", "self_attn.q_a_proj", (4, -1), (8, -1), DIFFERS),
    ("ct-w4a16", "deepseek_v3", "self_attn.kv_b_proj", (4, 64), (4, 32), DIFFERS),
    ("ct-w4a16", "deepseek_v3", "self_attn.o_proj", (8, 32), (4, 32), SHORT),
    ("ct-w4a16", "deepseek_v3", "self_attn.o_proj", (4, 64), (4, 32), CUT),
    ("ct-w4a16", "deepseek_v3", "self_attn.o_proj", (4, -1), (4, 32), CUT),
    ("ct-w4a16", "deepseek_v3", "self_attn.o_proj", (4, 32), (4, -1), SHORT),
    ("ct-w4a16", "deepseek_v3", "experts.0.gate_proj", (4, 32), (8, 32), LONG),
    ("ct-w4a16", "deepseek_v3", "experts.0.gate_proj", (8, 32), (4, 32), CUT),
    ("ct-w4a16", "deepseek_v3", "experts.0.gate_proj", (4, 64), (4, 32), LONG),
    ("gptq", "qwen3_5", "self_attn.o_proj", (4, 32), (8, 32), DIFFERS),
    ("gptq", "qwen3_5", "self_attn.o_proj", (8, 32), (4, 32), SHORT),
    ("gptq", "qwen3_5", "self_attn.o_proj", (4, 64), (4, 32), CUT),
    ("gptq", "qwen3_5", "self_attn.o_proj", (4, -1), (4, 32), CUT),
    ("gptq", "qwen3_5", "self_attn.o_proj", (4, 32), (4, -1), SHORT),
    ("gptq", "qwen3_5", "mtp.fc", (4, 64), (4, 32), DIFFERS),
    ("gptq", "qwen3_5", "self_attn.k_proj", (4, 64), (4, 32), DIFFERS),
    ("awq", "qwen3_5", "self_attn.o_proj", (4, 32), (8, 32), DIFFERS),
    ("awq", "qwen3_5", "self_attn.o_proj", (4, 64), (4, 32), CUT),
    ("awq", "qwen3_5", "self_attn.o_proj", (4, -1), (4, 32), CUT),
    ("awq", "qwen3_5", "self_attn.o_proj", (4, 32), (4, -1), SHORT),
    ("awq", "qwen3_5", "mtp.fc", (4, 32), (8, 32), CUT),
    ("awq", "qwen3_5", "mtp.fc", (4, 64), (4, 32), DIFFERS),
    ("awq", "qwen3_5", "self_attn.k_proj", (4, 32), (8, 32), CUT),
    ("awq", "qwen3_5", "self_attn.k_proj", (4, 64), (4, 32), DIFFERS),
    ("ct-w4a16", "qwen3_5", "self_attn.o_proj", (8, 32), (4, 32), SHORT),
    ("ct-w4a16", "qwen3_5", "self_attn.o_proj", (4, 64), (4, 32), CUT),
    ("ct-w4a16", "qwen3_5", "self_attn.o_proj", (4, -1), (4, 32), CUT),
    ("ct-w4a16", "qwen3_5", "self_attn.o_proj", (4, 32), (4, -1), SHORT),
    ("ct-w4a16", "qwen3_5", "mtp.fc", (4, 64), (4, 32), DIFFERS),
    ("ct-w4a16", "qwen3_5", "self_attn.k_proj", (4, 64), (4, 32), DIFFERS),
)
"""One kind of module alone: row-parallel layers cut, and experts are filled in part."""


def made(folder: Path, row: Row) -> Path:
    scheme, family, end, built, disk, _ = row
    variant = tiny.variant(family, scheme)
    forged = forge(family, folder, scheme, variant=variant, mtp="quantized")
    chosen = {module for module in forged.mtp_modules if module.endswith(end)}
    assert chosen & set(forged.quantized)
    repack(folder, disk, lambda module: module in chosen)
    repack(folder, built, lambda module: module not in chosen)
    restate(folder, built)
    return folder


@pytest.mark.parametrize("row", [*WHOLE, *ALONE])
def test_it_is_foreseen(row: Row, tmp_path: Path) -> None:
    report = mtpfix.inspect(made(tmp_path, row), vllm=["0.32.0"]).engines[0]
    assert predicted(report).startswith(row[-1])


@pytest.mark.parametrize("scheme", ["ct-w4a16", "gptq", "awq", "auto-round"])
@pytest.mark.parametrize("packing", [(4, 32), (4, 64)])
def test_what_agrees_is_clean(scheme: str, packing: Packing, tmp_path: Path) -> None:
    row = (scheme, "qwen3_5", "", packing, packing, "clean")
    report = mtpfix.inspect(made(tmp_path, row), vllm=["0.32.0"]).engines[0]
    assert predicted(report) == "clean"


def test_the_finding_says_what_the_metadata_states(tmp_path: Path) -> None:
    row = ("ct-w4a16", "qwen3_5", "", (4, 64), (4, 32), "")
    messages = [f.message for f in mtpfix.check(made(tmp_path, row), vllm=["0.32.0"]).findings]
    said = (
        "which reads int-pack of 4 bits in groups of 64, and its tensors have other sizes or names"
    )
    assert any(said in message for message in messages)


def test_the_width_of_a_layer_tells_eight_bits_from_four(tmp_path: Path) -> None:
    row = ("ct-w4a16", "qwen3_5", "", (4, -1), (8, -1), "")
    report = mtpfix.inspect(made(tmp_path, row), vllm=["0.32.0"]).engines[0]
    wrong = {m.decision.module.name for m in report.modules if m.agrees is False}
    assert "mtp.layers.0.mlp.gate_up_proj" in wrong
    assert "mtp.layers.0.self_attn.qkv_proj" in wrong
