"""The plugin in a real vLLM: what it comes to is what `rewrite` comes to, with nothing written.

docs/plugin-proof.md has more releases, families and recipes, proved by `tools.prove_plugin`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtpfix.engines.vllm.live import Server
from tools import plugged
from tools.forge import forge
from tools.prove import loading_faults, outcome
from tools.prove_plugin import BESIDE, PLAIN, Draft, prove

pytestmark = pytest.mark.live

CASES = (
    ("glm4_moe", "ct-fp8-channel", PLAIN),
    ("nemotron_h", "modelopt-fp8", PLAIN),  # its draft reads the metadata anew
    ("mimo", "modelopt-nvfp4", BESIDE),
    ("mimo", "awq", PLAIN),
    ("mimo", "quark-fp8", PLAIN),
    ("qwen3_5", "ct-fp8-channel", "text_config"),
    ("deepseek_v4_dspark", "ct-fp8-channel", PLAIN),
)


@pytest.fixture(scope="module")
def plugin(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same vLLM, with the plugin on."""
    path = plugged.pythonpath(tmp_path_factory.mktemp("plugin"))
    with Server(python=python, pythonpath=path, variables={"MTPFIX_PLUGIN": "1"}) as running:
        yield running


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_it_comes_to_what_rewrite_comes_to(
    server: Server, plugin: Server, case: tuple[str, str, str], tmp_path: Path
) -> None:
    proof = prove((server, plugin), *case, tmp_path / "model")
    assert not proof.alone.startswith("clean")
    assert proof.plugin.startswith("clean")
    assert proof.differences == ()


@pytest.mark.parametrize("draft", ["bf16", "quantized"])
def test_a_draft_from_elsewhere_is_built_as_it_is_stored(
    server: Server, plugin: Server, draft: Draft, tmp_path: Path
) -> None:
    case = ("glm4_moe", "ct-fp8-channel", PLAIN)
    proof = prove((server, plugin), *case, tmp_path / "model", draft=draft)
    assert not proof.alone.startswith("clean")
    assert proof.plugin.startswith("clean")
    assert proof.differences == ()


def test_it_goes_by_what_an_override_has_put_in_memory(plugin: Server, tmp_path: Path) -> None:
    forged = forge("mimo", tmp_path / "model", "ct-fp8-channel")
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    stated = {**config["quantization_config"], "ignore": []}
    overrides = {"quantization_config": stated, "max_position_embeddings": 128}
    answer = plugin.ask(tmp_path / "model", load=True, overrides=overrides)
    assert loading_faults(answer, "mimo", forged.mtp) == []
    assert outcome(answer).startswith("clean")


def test_an_engine_says_it_in_one_line_and_accepts_its_drafts(python: str, tmp_path: Path) -> None:
    plugged.servable(tmp_path / "model")
    path = plugged.pythonpath(tmp_path / "plugin")
    ran = subprocess.run(
        [python, plugged.STARTER, tmp_path / "model", "--tokens", "20"],
        env={**os.environ, **plugged.QUIET, "PYTHONPATH": path, "MTPFIX_PLUGIN": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in (ran.stdout + ran.stderr).splitlines() if "mtpfix: " in line]
    assert len(lines) == 1
    assert " INFO " in lines[0]
    assert "repaired in memory: 4 modules fixed" in lines[0]
    answer = plugged.answered(ran.stdout)
    assert answer["accepted"] == answer["drafted"] > 0
