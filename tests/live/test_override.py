"""`mtpfix override` on a real vLLM: broken before, clean with the override, the files untouched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mtpfix
from mtpfix.engines.vllm.live import Server
from tools import tiny
from tools.forge import forge
from tools.prove import loading_faults, outcome

pytestmark = pytest.mark.live

CASES = {
    "ct-fp8-channel": "mimo",
    "ct-w4a16": "qwen3_5",
    "fp8-block": "longcat_flash",
    "modelopt-nvfp4": "qwen3_5",
    "modelopt-fp8": "glm4_moe",
    "quark-fp8": "mimo",
}
"""By recipe: the family whose draft is loaded under an override."""
PLACES = {"compression_config": "mimo", "text_config": "qwen3_5"}
"""Other places of the metadata, and a family that is loaded with it there."""


@pytest.mark.parametrize("scheme", CASES)
def test_the_override_makes_the_draft_load(server: Server, scheme: str, tmp_path: Path) -> None:
    proved(server, CASES[scheme], scheme, tmp_path / "model")


@pytest.mark.parametrize("place", PLACES)
def test_metadata_in_another_place_is_read_repaired_and_overridden(
    server: Server, place: str, tmp_path: Path
) -> None:
    folder, family = tmp_path / "model", PLACES[place]
    tensors = proved(server, family, "ct-fp8-channel", folder, place)
    mtpfix.rewrite(folder, vllm=["0.32.0"], platforms=["cuda"], backup=False, write=True)
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert loading_faults(server.ask(folder, load=True), family, tensors) == []


def test_a_part_of_the_metadata_is_a_trap(server: Server, tmp_path: Path) -> None:
    """Why the override holds all of it: vLLM merges nothing, and says nothing."""
    forge("mimo", tmp_path / "model", "ct-fp8-channel")
    part = {"quantization_config": {"ignore": ["re:.*mtp.*"]}}
    built = server.ask(tmp_path / "model", tolerant=True, overrides=part)
    assert {made.built for made in built.of("trunk")} <= {"unquantized"}


def proved(
    server: Server, family: str, scheme: str, folder: Path, place: str = ""
) -> tuple[str, ...]:
    """Loads one checkpoint without and with the override; returns the tensors of its block."""
    forged = forge(family, folder, scheme, variant=tiny.variant(family, scheme))
    if place:
        moved(folder / "config.json", place)
    before = (folder / "config.json").read_bytes()
    made = mtpfix.override(folder, vllm=["0.32.0"], platforms=["cuda"])
    assert not outcome(server.ask(folder, load=True)).startswith("clean")
    answer = server.ask(folder, load=True, overrides=json.loads(made.value))
    assert loading_faults(answer, family, forged.mtp) == []
    assert (folder / "config.json").read_bytes() == before
    return forged.mtp


def moved(file: Path, place: str) -> None:
    """Puts the metadata of a configuration elsewhere."""
    config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    stated = config.pop("quantization_config")
    if place == "text_config":
        config["text_config"]["quantization_config"] = stated
    else:
        config[place] = stated
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
