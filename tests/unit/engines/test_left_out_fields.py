"""Fields that config.json leaves out: a real vLLM 0.32.0 takes its defaults, and builds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mtpfix
from tools import schemes
from tools.forge import forge
from tools.recording import with_quantization

BUILT = {
    "model.layers.0.attn.qkvr": "quantized",
    "model.layers.0.attn.wo_ud": "quantized",
    "model.layers.0.mlp.experts": "quantized",
    "model.layers.1.attn.qkvr": "quantized",
    "model.layers.1.attn.wo_ud": "quantized",
    "model.layers.1.mlp.experts": "quantized",
    "lm_head": "unquantized",
}
"""What it decided of the target model; of the draft it decides nothing."""


@pytest.mark.parametrize(
    ("scheme", "entries"),
    [("fp8-tensor", ["lm_head", "model.mtp.*"]), ("modelopt-nvfp4", ["lm_head"])],
)
def test_inkling(tmp_path: Path, scheme: str, entries: list[str]) -> None:
    forge("inkling", tmp_path, scheme, variant="no_chain_norm", ignore=entries)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["mtp_config"]["chain_hidden_post_norm"]
    del config["text_config"]["dense_mlp_idx"]
    stated = with_quantization(config, schemes.quantization(scheme), entries)
    (tmp_path / "config.json").write_text(json.dumps(stated))
    (judged,) = mtpfix.inspect(tmp_path, vllm="0.32.0", trunk=True).engines
    decisions = [each.decision for each in judged.modules]
    asked = {d.module.name: d.built for d in decisions if d.module.asks}
    assert asked == BUILT
    draft = [each for each in judged.modules if each.decision.module.part == "draft"]
    assert {each.decision.built for each in draft} == {"unquantized"}
    assert not any(each.consequence for each in draft)
