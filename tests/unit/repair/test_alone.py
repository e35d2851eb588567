"""Where one list cannot serve two engines, what serves the one that decides is named."""

from __future__ import annotations

from pathlib import Path

import pytest

import mtpfix
from tools.forge import forge


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """HY3's head needs MIXED_PRECISION in vLLM, which SGLang reads into another target model."""
    return forge("hy_v3", tmp_path / "hy3", "modelopt-nvfp4").folder


def test_a_repair_for_one_engine_alone_is_named_and_not_made(folder: Path) -> None:
    before = (folder / "config.json").read_bytes()
    made = mtpfix.plan(folder)
    assert (made.exit_code, made.alone_helps) == (1, "vllm")
    assert made.plan.schemes == ()
    with pytest.raises(mtpfix.RefusedError, match="as broken as the source") as refused:
        mtpfix.rewrite(folder, write=True)
    assert refused.value.remedy.startswith("--engine vllm fixes more")
    assert (folder / "config.json").read_bytes() == before


def test_asked_for_alone_it_is_made(folder: Path) -> None:
    made = mtpfix.rewrite(folder, engines=["vllm"], write=True)
    assert (made.exit_code, made.alone_helps) == (0, "")
    assert made.plan.schemes
    assert mtpfix.check(folder).ok


def test_nothing_is_named_where_one_list_serves_both(tmp_path: Path) -> None:
    made = mtpfix.plan(forge("glm4_moe", tmp_path / "glm", "ct-fp8-channel").folder)
    assert (made.exit_code, made.alone_helps) == (0, "")
