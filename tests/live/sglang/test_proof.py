"""A handful of families on a real SGLang: what it builds and loads, and what helps it.

`tools.prove_sglang` asks all families, with more schemes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mtpfix.engines.sglang.live import Server
from mtpfix.engines.sglang.verify import compared
from tests.live.asking import subject_of
from tools import prove_draft_folder, sglang_tiny
from tools.forge import Mtp, forge
from tools.prove_sglang import prove

pytestmark = pytest.mark.live

FAMILIES = ("deepseek_v3", "glm4_moe", "qwen3_5_moe", "nemotron_h", "mimo")
DECIDED = ("ct-fp8-channel", "fp8-block", "modelopt-nvfp4", "gptq")
BROKEN = (
    ("glm4_moe", "ct-fp8-channel", "garbage"),
    ("deepseek_v3", "ct-fp8-channel", "ValueError"),
    ("nemotron_h", "modelopt-nvfp4", "AssertionError"),
    ("deepseek_v4_dspark", "fp8-block", "ValueError"),
    ("deepseek_v4_dspark", "modelopt-nvfp4", "ValueError"),
)
"""What SGLang cannot load, and what comes of it."""


def forged(folder: Path, family: str, scheme: str, mtp: Mtp = "bf16") -> Path:
    """Return the folder of a checkpoint that SGLang reads."""
    forge(sglang_tiny.like(family), folder, scheme, mtp=mtp)
    sglang_tiny.adapt(folder, family)
    return folder


@pytest.mark.parametrize("scheme", DECIDED)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_it_builds_is_foreseen(
    server: Server, family: str, scheme: str, tmp_path: Path
) -> None:
    folder = forged(tmp_path / "model", family, scheme)
    told = sglang_tiny.told(folder)
    asked = server.ask(folder, tolerant=True, arguments=told)
    answer = compared(subject_of(folder, "sglang"), asked)
    dropped = (family, scheme) == ("qwen3_5_moe", "modelopt-nvfp4")  # the metadata, for the draft
    parts = {"trunk"} if dropped else {"draft", "trunk"}
    assert {module.part for module in answer.modules} == parts
    assert [module for module in answer.modules if not module.foreseen] == []


@pytest.mark.parametrize("family", ["deepseek_v4", "deepseek_v4_dspark"])
@pytest.mark.parametrize("scheme", ["deepseek-v4-fp8", "deepseek-v4-fp4"])
def test_what_deepseek_publishes_is_clean(
    server: Server, family: str, scheme: str, tmp_path: Path
) -> None:
    row = prove(server, family, scheme, "quantized", tmp_path / "model")
    assert (row.foreseen, row.before, row.fault) == ("clean", "clean", "")


@pytest.mark.parametrize(("family", "scheme", "before"), BROKEN)
def test_one_list_for_both_engines_repairs_it(
    server: Server, family: str, scheme: str, before: str, tmp_path: Path
) -> None:
    row = prove(server, family, scheme, "bf16", tmp_path / "model")
    assert row.fault == ""
    assert before in row.before
    assert row.after == "clean"


def test_nothing_is_written_where_the_target_model_stays_broken(
    server: Server, tmp_path: Path
) -> None:
    row = prove(server, "deepseek_v4_dspark", "ct-w4a16", "bf16", tmp_path / "model")
    assert row.fault == ""
    assert row.foreseen_after.startswith("refused: the result would be as broken as the source")
    loaded = server.ask(
        tmp_path / "model", load_target=True, arguments=sglang_tiny.told(tmp_path / "model")
    ).load["trunk"]
    assert loaded.failure is None
    assert "model.layers.0.self_attn.wqkv_a.weight_packed" in loaded.uninitialised


@pytest.mark.parametrize("family", ["deepseek_v3", "glm4_moe"])
def test_a_quantized_block_is_left_alone(server: Server, family: str, tmp_path: Path) -> None:
    row = prove(server, family, "fp8-block", "quantized", tmp_path / "model")
    assert (row.fault, row.before, row.after) == ("", "clean", "")


def test_what_no_list_can_say_a_draft_folder_does(server: Server, tmp_path: Path) -> None:
    folder = forged(tmp_path / "model", "qwen3_next", "ct-fp8-channel")
    row = prove_draft_folder.prove(server, server.about["sglang"], folder, "qwen3_next")
    assert row.before.startswith("garbage")
    assert row.good
