"""ModelOpt's two files on a real vLLM: the one that it reads is the one that we judge and mend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mtpfix
from mtpfix.engines.vllm.live import Server
from tools.forge import forge
from tools.prove import loading_faults, outcome
from tools.schemes import HF_QUANT_CONFIG

pytestmark = pytest.mark.live

FAMILY, SCHEME = "mimo", "modelopt-nvfp4"


def edited(file: Path, **changes: Any) -> None:
    """Sets keys of the metadata in `config.json`; None takes them away."""
    config = json.loads(file.read_text(encoding="utf-8"))
    stated = {**config.pop("quantization_config"), **changes}
    kept = {key: value for key, value in stated.items() if value is not None}
    file.write_text(json.dumps({**config, "quantization_config": kept}), encoding="utf-8")


def repaired(server: Server, folder: Path, tensors: tuple[str, ...]) -> None:
    """Broken before the repair as foreseen, clean after it."""
    foreseen = mtpfix.inspect(folder, vllm=["0.32.0"]).engines[0].outcome
    assert outcome(server.ask(folder, load=True)).partition(":")[0] == foreseen == "load_error"
    mtpfix.rewrite(folder, vllm=["0.32.0"], platforms=["cuda"], backup=False, write=True)
    assert loading_faults(server.ask(folder, load=True), FAMILY, tensors) == []


def test_the_other_file_is_read_where_config_json_says_nothing(
    server: Server, tmp_path: Path
) -> None:
    forged = forge(FAMILY, tmp_path, SCHEME)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    del config["quantization_config"]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    repaired(server, tmp_path, forged.mtp)


def test_an_override_goes_before_the_other_file(server: Server, tmp_path: Path) -> None:
    forged = forge(FAMILY, tmp_path, SCHEME)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    del config["quantization_config"]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    overridden(server, tmp_path, forged.mtp)


def test_an_override_names_the_layers_that_the_other_file_names(
    server: Server, tmp_path: Path
) -> None:
    forged = forge(FAMILY, tmp_path, "modelopt-mixed")
    edited(tmp_path / "config.json", quantized_layers=None)
    beside = json.loads((tmp_path / HF_QUANT_CONFIG).read_text(encoding="utf-8"))
    named = beside["quantization"]["quantized_layers"]
    named["model.layers.2.self_attn.o_proj"] = {"quant_algo": "NVFP4"}  # cut, and no error
    (tmp_path / HF_QUANT_CONFIG).write_text(json.dumps(beside), encoding="utf-8")
    overridden(server, tmp_path, forged.mtp)


def overridden(server: Server, folder: Path, tensors: tuple[str, ...]) -> None:
    """Broken before, clean under the override, the files untouched."""
    files = {path: path.read_bytes() for path in folder.glob("*.json")}
    made = mtpfix.override(folder, vllm=["0.32.0"], platforms=["cuda"])
    foreseen = made.repair.before.engines[0].outcome
    assert outcome(server.ask(folder, load=True)).partition(":")[0] == foreseen != "clean"
    answer = server.ask(folder, load=True, overrides=json.loads(made.value))
    assert loading_faults(answer, FAMILY, tensors) == []
    assert {path: path.read_bytes() for path in folder.glob("*.json")} == files


def test_config_json_is_read_where_it_says_anything(server: Server, tmp_path: Path) -> None:
    forged = forge(FAMILY, tmp_path, SCHEME)
    beside = json.loads((tmp_path / HF_QUANT_CONFIG).read_text(encoding="utf-8"))
    beside["quantization"]["exclude_modules"] = ["*"]
    (tmp_path / HF_QUANT_CONFIG).write_text(json.dumps(beside), encoding="utf-8")
    repaired(server, tmp_path, forged.mtp)


def test_a_flat_list_of_another_name_is_not_read_by_0_32(server: Server, tmp_path: Path) -> None:
    forged = forge(FAMILY, tmp_path, SCHEME)
    listed = ["lm_head", "model.layers.2.*", "model.mtp_layers.0.*"]
    edited(tmp_path / "config.json", ignore=None, exclude_modules=listed)
    repaired(server, tmp_path, forged.mtp)


def test_layers_without_an_algorithm_are_read_in_the_other_file(
    server: Server, tmp_path: Path
) -> None:
    forge(FAMILY, tmp_path, "modelopt-mixed")
    edited(tmp_path / "config.json", quantized_layers=None)
    answer = server.ask(tmp_path, tolerant=True)
    foreseen = mtpfix.inspect(tmp_path, vllm=["0.32.0"], trunk=True).engines[0].modules
    ours = {m.decision.module.name: m.decision.built for m in foreseen if m.decision.module.asks}
    assert {made.name: made.built for made in answer.decisions if made.name in ours} == ours
    assert "quantized" in ours.values()
