"""A repair as a page: every release before and after it, and foreign words that stay words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import mtpfix
from mtpfix.delivery import Delivered
from mtpfix.model import Acceptance, Accepted, Finding
from mtpfix.report import change, html_change
from tools.forge import forge

from .test_html import ATTRIBUTES, TAGS, Reader

BOTH = ("vllm>=0.32", "sglang==0.5.23")


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    return forge("glm4_moe", tmp_path / "glm", "ct-fp8-channel").folder


def test_every_release_is_there_before_and_after(folder: Path) -> None:
    told = Delivered(mtpfix.plan(folder, engines=BOTH))
    page = Reader(html_change.render(told, "mtpfix rewrite glm"))
    found = html_change.pairs(told)
    assert {engine.engine for pair in found for engine in pair.members} == {"vllm", "sglang"}
    assert sum(len(pair.members) for pair in found) == len(told.repair.before.engines)
    assert [pair.after.sign.word for pair in found] == ["clean"] * len(found)
    assert "clean" not in {pair.before.sign.word for pair in found}
    assert page.tags["table"] == 2 * len(found)
    assert page.tags["input"] == len(found)
    heads = [text for text in page.texts["h3"] if text in ("Before: ", "After: ")]
    assert heads == ["Before: ", "After: "] * len(found)
    assert "mtpfix rewrite glm" in page.texts["code"]
    assert set(page.tags) <= {*TAGS.split(), "pre"}
    assert set(page.attributes) <= set(ATTRIBUTES.split())


def test_the_lists_are_those_of_the_panel_that_is_shown(folder: Path) -> None:
    page = Reader(html_change.render(Delivered(mtpfix.plan(folder, engines=BOTH))))
    ids = page.attributes["id"]
    assert len(ids) == len(set(ids))
    named = {each for said in page.attributes["data-i"] for each in said.split()}
    assert named <= set(ids)


def test_the_diff_is_shown_line_by_line(folder: Path) -> None:
    told = Delivered(mtpfix.plan(folder, engines=BOTH))
    page = Reader(html_change.render(told))
    added = [text for text in page.texts["span"] if text.startswith("+ ")]
    assert len(added) == sum(line.startswith("+ ") for line in told.repair.diff.splitlines())


def test_where_nothing_changes_that_is_said(folder: Path) -> None:
    mtpfix.rewrite(folder, engines=BOTH, write=True)
    told = Delivered(mtpfix.plan(folder, engines=BOTH))
    page = Reader(html_change.render(told))
    assert "pre" not in page.tags
    assert any(text.startswith("Nothing to change") for text in page.texts["p"])
    assert all(pair.before == pair.after for pair in html_change.pairs(told))


@pytest.mark.parametrize(
    "word", ["<script>x</script>", '"><img src=x>', "`<b>`", "\x1b[31m", "\u202e"]
)
def test_foreign_words_stay_words(folder: Path, word: str) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["quantization_config"]["ignore"] += [word, f"re:.*{word}"]
    file.write_text(json.dumps(config, indent=2), encoding="utf-8")
    told = Delivered(mtpfix.plan(folder, engines=BOTH))
    shown = html_change.render(told, f"mtpfix rewrite {word}")
    page = Reader(shown)
    assert set(page.tags) <= {*TAGS.split(), "pre"}
    assert set(page.attributes) <= set(ATTRIBUTES.split())
    assert not {"\x1b", "\u202e"} & set(shown)
    assert page.tags["script"] == 1


def test_the_text_of_a_pull_request_has_the_modules_of_each_engine(folder: Path) -> None:
    shown = change.render(Delivered(mtpfix.plan(folder, engines=BOTH)))
    for place in ("vLLM 0.34.0 on cuda", "SGLang 0.5.23 on cuda"):
        assert f"<summary>Draft modules before and after, {place}</summary>" in shown
    rows = [line for line in shown.splitlines() if line.startswith("| `model.")]
    assert rows
    assert all(line.endswith("✓ unquantized |") for line in rows)
    assert any("✗" in line for line in rows)


def test_a_scheme_and_a_copy_are_said(tmp_path: Path) -> None:
    forge("nemotron_h_vl", tmp_path, "quark-mxfp4", block="quark-fp8", mtp="quantized")
    said = change.edits(Delivered(mtpfix.plan(tmp_path)))
    assert [line.partition(":")[0] for line in said] == ["Modules get their scheme", "Copied"]


def test_what_is_accepted_is_said_with_its_reason(folder: Path) -> None:
    made = Delivered(mtpfix.plan(folder, vllm=["0.32.0"]))
    known = Finding("MTP203", "error", "run", "two formats", modules=("model.layers.2.mlp",))
    why = Acceptance("ignore", "it is served elsewhere", "mtpfix.toml", "2027-01-01")
    checked = replace(made.repair.checked, accepted=(Accepted(known, why),))
    new = replace(made.repair.new, gating=checked)
    made = replace(made, repair=replace(made.repair, new=new))
    for page in (change.render(made), html_change.render(made)):
        assert "MTP203" in page
        assert "it is served elsewhere" in page
