"""A copy of the metadata in the text configuration goes on saying the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mtpfix
from mtpfix.model import Edit, JsonFile, QuantView
from mtpfix.repair.copies import COPY, copy, mirrored
from tools.forge import forge

QUANT = {"quant_method": "fp8", "ignored_layers": ["a"]}
PLACE = "/quantization_config"
VIEW = QuantView("fp8", "config.json", PLACE, (), f"{PLACE}/ignored_layers", (), None, raw=QUANT)
EDITS = (
    Edit("config.json", "/quantization_config/ignored_layers/-", "add", "b"),
    Edit("config.json", "/quantization_config_too", "add", 1),
    Edit("quantize_config.json", "/quantization_config/ignored_layers/-", "add", "b"),
)


def config(stated: Any) -> dict[str, JsonFile]:
    value = {"quantization_config": QUANT, "text_config": {"quantization_config": stated}}
    return {"config.json": JsonFile("config.json", b"", value)}


def test_an_equal_copy_is_changed_too() -> None:
    made = mirrored(EDITS, VIEW, config(dict(QUANT)))
    assert made == (*EDITS, Edit("config.json", f"{COPY}/ignored_layers/-", "add", "b"))


@pytest.mark.parametrize("stated", [None, {}, {**QUANT, "ignored_layers": []}])
def test_no_other_copy_is_touched(stated: Any) -> None:
    assert mirrored(EDITS, VIEW, config(stated)) == EDITS
    assert mirrored(EDITS, VIEW, {}) == EDITS


@pytest.mark.parametrize(
    ("scheme", "block", "entries"),
    [
        ("ct-w4a16", None, ["re:^mtp\\..*", "re:^language_model\\.mtp\\..*"]),
        ("awq", None, ["mtp."]),
        ("quark-mxfp4", "quark-fp8", []),
        ("auto-round", "auto-round-8-bit", []),
    ],
)
def test_a_draft_that_finds_no_copy_gets_one(
    scheme: str, block: str | None, entries: list[str], tmp_path: Path
) -> None:
    forge("nemotron_h_vl", tmp_path, scheme, block=block, mtp="quantized" if block else "bf16")
    made = mtpfix.rewrite(tmp_path, backup=False, write=True)
    assert made.plan.metadata_copied
    assert sorted(made.plan.added) == sorted(entries)
    assert {engine.outcome for engine in made.after.engines} == {"clean"}
    now = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert now["text_config"]["quantization_config"] == now["quantization_config"]
    again = mtpfix.plan(tmp_path)
    assert (again.exit_code, again.files) == (0, {})


@pytest.mark.parametrize("scheme", ["modelopt-nvfp4", "ct-fp8-channel"])
@pytest.mark.parametrize("family", ["nemotron_h", "step3p7", "qwen3_5"])
def test_no_other_draft_gets_a_copy(family: str, scheme: str, tmp_path: Path) -> None:
    forge(family, tmp_path, scheme)
    assert not mtpfix.plan(tmp_path).plan.metadata_copied


@pytest.mark.parametrize("text", [None, [], {"quantization_config": None}, {**QUANT}])
def test_a_copy_needs_a_place(text: Any) -> None:
    value = {"quantization_config": QUANT, "text_config": text}
    made = copy(VIEW, {"config.json": JsonFile("config.json", b"", value)})
    assert (made is None) == (not isinstance(text, dict) or "quantization_config" in text)
    assert copy(VIEW, {}) is None


@pytest.mark.parametrize(
    ("scheme", "block"), [("ct-w4a16", None), ("quark-mxfp4", "quark-fp8"), ("gptq", "gptq-8-bit")]
)
def test_a_draft_that_goes_by_the_copy_is_repaired(
    scheme: str, block: str | None, tmp_path: Path
) -> None:
    forge("nemotron_h_vl", tmp_path, scheme, block=block, mtp="quantized" if block else "bf16")
    file = tmp_path / "config.json"
    stated = json.loads(file.read_text(encoding="utf-8"))
    stated["text_config"]["quantization_config"] = stated["quantization_config"]
    file.write_text(json.dumps(stated), encoding="utf-8")
    made = mtpfix.rewrite(tmp_path, vllm=["0.32.0"], platforms=["cuda"], backup=False, write=True)
    assert made.exit_code == 0
    assert [engine.outcome for engine in made.after.engines] == ["clean"]
    now = json.loads(file.read_text(encoding="utf-8"))
    assert now["text_config"]["quantization_config"] == now["quantization_config"]
    assert now["quantization_config"] != stated["quantization_config"]


def test_the_finding_has_the_copy_as_its_fix(tmp_path: Path) -> None:
    forge("nemotron_h_vl", tmp_path, "ct-w4a16")
    found = next(f for f in mtpfix.inspect(tmp_path).findings if f.code == "MTP304")
    assert found.repair is not None
    assert found.repair.title.startswith("copy the metadata into the text configuration, and add")
    assert (found.repair.applicability, found.remedy) == ("safe", None)
    assert COPY in {edit.pointer for edit in found.repair.edits}
