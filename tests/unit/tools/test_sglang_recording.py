"""Recordings of SGLang: what is asked, what is kept, and that it can be read again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from mtpfix.engines.sglang import live
from tools import schemes, sglang_environment, sglang_record, sglang_recording, sglang_tiny, tiny
from tools.recording import with_quantization
from tools.sglang_recording import Column

FAMILY = "mimo"
KNOWN = {name: schemes.quantization(name) for name in ("fp8-block", "quark-fp8")}


def made(part: str, name: str, built: str, scheme: str | None = None) -> dict[str, str | None]:
    param = f"model.{name}"
    row = {"part": part, "name": name, "cls": "L", "kind": "linear", "param": param}
    error = "ValueError: no" if built == "error" else None
    return {**row, "built": built, "scheme": scheme, "method": scheme, "error": error}


def answer(*rows: dict[str, str | None], ignore: list[str] | None, **more: object) -> live.Answer:
    state = {"method": "fp8", "class": "Fp8Config", "packed": {}, "ignore": ignore, "targets": []}
    raw = {
        "sglang": "0.5.23",
        "capability": "9.0",
        "patches": [],
        "target_class": "a.T",
        "draft_class": "a.D",
        "decisions": rows,
        "unasked": {"draft": [{"param": "fc", "cls": "Linear", "kind": "linear"}]},
        "quantization": {"trunk": state, "draft": state},
        "parameters": {},
        "load": {},
        "failures": [],
    }
    return live.parse({**raw, **more})


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    """A recording with two columns."""
    config = sglang_tiny.config(FAMILY)
    column = Column(config, KNOWN)
    column.ignores = {"none": ["lm_head"], "fused": ["self_attn.o_proj"], "unused": ["x"]}
    first = made("trunk", "a", "quantized", "Fp8LinearMethod")
    column.add("fp8-block", "none", answer(first, ignore=["lm_head", "model.lm_head"]))
    twice = [made("draft", "", "error"), made("draft", "", "unquantized")]
    column.add("fp8-block", "fused", answer(first, *twice, ignore=["self_attn.o_proj"]))
    failure = {"phase": "target", "type": "KeyError", "message": "'x'", "where": "srt/x.py:1 in y"}
    column.add("quark-fp8", "none", answer(ignore=None, failures=[failure]))
    path = tmp_path / f"{FAMILY}{sglang_recording.END}"
    for name in ("0.5.23@10.0", "0.5.23"):
        sglang_record.put(path, FAMILY, name, column.table({"sglang": "0.5.23"}))
    return path


def test_what_is_written_is_read_again(path: Path) -> None:
    none, fused, quark = (c for c in sglang_recording.read(path) if c.capability == "9.0")
    assert none.id == "0.5.23@9.0/mimo/fp8-block/none"
    config = sglang_tiny.config(FAMILY)
    assert none.config == with_quantization(config, KNOWN["fp8-block"], ["lm_head"])
    assert [(o.module.name, o.built, o.scheme) for o in none.outcomes] == [
        ("a", "quantized", "Fp8LinearMethod")
    ]
    assert none.states["draft"].ignore == ["lm_head", "model.lm_head"]
    assert none.unasked == {"trunk": [], "draft": [["linear", "Linear", "fc"]]}
    assert fused.states["draft"].ignore == ["self_attn.o_proj"]
    assert [(o.built, o.error) for o in fused.outcomes[1:]] == [
        ("error", "ValueError: no"),
        ("unquantized", None),
    ]
    assert quark.outcomes == ()
    assert quark.states["trunk"].ignore is None
    assert quark.failures[0]["message"] == "'x'"


def test_columns_keep_their_place_and_what_no_case_names_is_left_out(path: Path) -> None:
    data = sglang_recording.load(path)
    assert list(data["columns"]) == ["0.5.23", "0.5.23@10.0"]
    assert set(data["columns"]["0.5.23"]["ignores"]) == {"none", "fused"}
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    sglang_record.put(path, FAMILY, "0.5.23", data["columns"]["0.5.23"])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


@pytest.mark.parametrize("family", sglang_tiny.families())
@pytest.mark.parametrize("lean", [False, True])
def test_every_question_has_a_list_and_a_scheme(family: str, lean: bool) -> None:
    names = sglang_record.names_of(family, answer(ignore=None))
    lists = sglang_record.ignores(family, names)
    asked = list(sglang_record.questions(family, lean=lean))
    assert len(set(asked)) == len(asked)
    assert {question.ignore for question in asked} <= set(lists)
    assert {q.scheme for q in asked} <= {"", *sglang_record.stated(family)}


def test_tiny_models_differ_from_those_of_vllm_where_the_data_say_so() -> None:
    assert sglang_tiny.config("mimo") == tiny.config("mimo")
    fused = sglang_tiny.config("deepseek_v3_fused")
    assert fused == {**tiny.config("deepseek_v3"), "n_routed_experts": 256}
    assert sglang_tiny.config("step3p5")["layer_types"] == ["full_attention"] * 48


def test_a_forged_checkpoint_is_adapted(tmp_path: Path) -> None:
    stated = {**tiny.config("longcat_flash"), "quantization_config": KNOWN["fp8-block"]}
    (tmp_path / "config.json").write_text(json.dumps(stated), encoding="utf-8")
    sglang_tiny.adapt(tmp_path, "longcat_flash")
    changed = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert changed == {**stated, **sglang_tiny.changes("longcat_flash")}
    assert changed["rope_scaling"]["rope_type"] == "default"


def test_the_overlay_of_a_release_stands_before_its_wheel(tmp_path: Path) -> None:
    home = sglang_environment.Home(tmp_path)
    assert home.path("0.5.23") == [tmp_path / "src" / "0.5.23"]
    assert home.path("0.5.13") == [tmp_path / "ov" / "tf5.8.1", tmp_path / "src" / "0.5.13"]
    assert len(sglang_environment.releases()) == 11
