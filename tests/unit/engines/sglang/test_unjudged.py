"""What is said where a load is not known in part, and where SGLang was once not asked at all.

Expected answers are those of a real 0.5.23.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import mtpfix
from mtpfix.model import EngineReport
from tools import sglang_tiny
from tools.forge import Mtp, forge

RELEASE = "0.5.23"


def judged(folder: Path, mtp: Mtp, ignore: Sequence[str] = ("lm_head",)) -> EngineReport:
    """Return what mtpfix says of a forged GLM-5 Next that states no `index_kpool`."""
    forge("glm5_next", folder, "ct-fp8-channel", mtp=mtp, ignore=ignore)
    sglang_tiny.adapt(folder, "glm5_next")
    report = mtpfix.inspect(folder, sglang=[RELEASE], platforms=["cuda"], trunk=True)
    return report.engines[0]


def test_glm_ocr_is_judged_where_its_config_is_silent_about_a_bias(tmp_path: Path) -> None:
    """SGLang builds a bias then, which is zero where no tensor fills it."""
    forge("glm_ocr", tmp_path, "ct-fp8-channel", mtp="quantized")
    path = tmp_path / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["text_config"].pop("attention_bias", None)
    path.write_text(json.dumps(config), encoding="utf-8")
    engine = mtpfix.inspect(tmp_path, sglang=[RELEASE], platforms=["cuda"]).engines[0]
    assert engine.outcome == "clean"


def test_decisions_are_shown_where_a_load_is_not_known(tmp_path: Path) -> None:
    engine = judged(tmp_path, "bf16", ignore=("lm_head", "re:.*self_attn.*", "re:model.decoder.*"))
    assert engine.outcome == "unknown"
    assert engine.reason is not None
    assert "index_kpool" in engine.reason
    unsure = [m for m in engine.modules if m.agrees is None and m.members]
    names = [m.decision.module.name for m in unsure if m.decision.module.part == "draft"]
    assert names == ["model.decoder.self_attn.indexer.wk_weights_proj"]
    assert any(m.agrees for m in engine.modules)


def test_what_is_known_of_such_a_draft_counts(tmp_path: Path) -> None:
    engine = judged(tmp_path, "bf16")
    assert engine.outcome == "load_error"
    assert engine.error is not None
    assert engine.error.startswith("ValueError: Downcasting not allowed")


@pytest.mark.parametrize("release", ["0.5.13", "0.5.14", "0.5.15"])
def test_deepseek_v4_has_a_draft_from_the_first_release_on(release: str, tmp_path: Path) -> None:
    forge("deepseek_v4", tmp_path, "ct-fp8-channel", variant="wide", mtp="bf16")
    engine = mtpfix.inspect(tmp_path, sglang=[release], platforms=["cuda"], trunk=True).engines[0]
    assert any(m.decision.module.part == "draft" for m in engine.modules)
