"""Checkpoints without quantization, whole and without their MTP tensors, on a real vLLM.

Families that are asked in brief share classes with those here.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import mtpfix
from mtpfix.engines.vllm.live import Server
from tools import tiny
from tools.forge import NONE, forge
from tools.prove import drafted, outcome

pytestmark = pytest.mark.live


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize("family", [each for each in tiny.families() if not tiny.brief(each)])
def test_what_becomes_of_it_is_foreseen(
    server: Server, family: str, cut: bool, tmp_path: Path
) -> None:
    release = server.about["vllm"].split("+")[0]
    if not drafted(family, release):
        pytest.skip("vLLM has no draft for it")
    made = forge(family, tmp_path, NONE, variant=tiny.variant(family, NONE))
    file = tmp_path / "model.safetensors"
    if cut:
        left = {name: t for name, t in load_file(file).items() if name not in set(made.mtp)}
        save_file(left, file, metadata={"format": "pt"})
    report = mtpfix.inspect(tmp_path, vllm=[release])
    assert outcome(server.ask(tmp_path, load=True)).startswith(report.engines[0].outcome)
    assert (report.engines[0].outcome == "clean") is not cut
    assert report.exit_code == cut
