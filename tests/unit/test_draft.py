"""A draft from another checkpoint: the trunk of one, the MTP block of the other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import mtpfix
from mtpfix import api
from mtpfix.cli import main
from mtpfix.model import Report, State
from tools.forge import forge

ONE: dict[str, Any] = {"vllm": ["0.32.0"], "platforms": ["cuda"]}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Its own MTP block is quantized, and its metadata right for that."""
    return forge("mimo", tmp_path / "target", "ct-fp8-channel", mtp="quantized").folder


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    """In BF16."""
    return forge("mimo", tmp_path / "draft", "none").folder


def edited(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    config = {**json.loads(file.read_text(encoding="utf-8")), **changes}
    file.write_text(json.dumps(config), encoding="utf-8")


def why(report: Report) -> str:
    assert report.exit_code == 3
    return report.findings[0].message


def test_the_draft_is_judged_as_it_is_stored_elsewhere(target: Path, draft: Path) -> None:
    assert api.check(target, **ONE).exit_code == 0
    report = api.check(target, draft=draft, **ONE)
    assert report.exit_code == 1
    assert report.engines[0].outcome == "silent_garbage"
    assert report.draft is not None
    assert report.draft.name == str(draft)
    modules = [m for m in report.engines[0].modules if m.decision.module.part == "draft"]
    assert {m.disk.state for m in modules} == {State.UNQUANTIZED}


def test_the_trunk_is_the_targets(target: Path, draft: Path) -> None:
    """That of the draft's checkpoint is not quantized, and nothing loads it."""
    report = api.inspect(target, draft=draft, trunk=True, **ONE)
    trunk = [m for m in report.engines[0].modules if m.decision.module.part == "trunk"]
    assert trunk
    assert all(m.agrees for m in trunk)


def test_the_target_is_repaired_and_the_draft_left_alone(target: Path, draft: Path) -> None:
    before = (draft / "config.json").read_bytes()
    made = api.rewrite(target, draft=draft, backup=False, **ONE)
    assert made.after.exit_code == 0
    assert made.plan.added == (r"re:^model\.layers\.2\..*", r"re:^model\.mtp_layers\.0\..*")
    assert api.check(target, draft=draft, **ONE).exit_code == 0
    assert api.check(target, **ONE).exit_code == 1  # its own block has another precision
    assert (draft / "config.json").read_bytes() == before


def test_a_quantized_draft_takes_entries_away(target: Path, draft: Path, tmp_path: Path) -> None:
    api.rewrite(target, draft=draft, backup=False, **ONE)
    quantized = forge("mimo", tmp_path / "q", "ct-fp8-channel", mtp="quantized").folder
    made = api.plan(target, draft=quantized, **ONE)
    assert made.after.exit_code == 0
    assert r"re:^model\.layers\.2\..*" in made.plan.removed


def test_an_override_repairs_it_too(target: Path, draft: Path) -> None:
    value = json.loads(api.override(target, draft=draft, **ONE).value)
    assert r"re:^model\.layers\.2\..*" in value["quantization_config"]["ignore"]


def test_what_only_the_draft_has_is_taken_from_there(target: Path, draft: Path) -> None:
    """A target that ties its head has none; the draft's is read."""
    opened = api.read(target, draft, None, None)
    shards = opened.listing.shards
    block = {shard for name, shard in shards.items() if name.startswith("model.mtp_layers.")}
    assert block == {"draft/model.safetensors"}
    assert shards["model.layers.0.self_attn.q_proj.weight"] == "model.safetensors"
    assert "model.mtp_layers.0.mlp.down_proj.weight_scale" not in shards


def test_a_draft_of_another_family_cannot_be_judged(target: Path, tmp_path: Path) -> None:
    other = forge("glm4_moe", tmp_path / "other", "none").folder
    assert "of another family" in why(api.check(target, draft=other, **ONE))


def test_a_draft_of_another_shape_cannot_be_judged(target: Path, draft: Path) -> None:
    edited(draft, num_hidden_layers=3)
    assert "names other modules" in why(api.check(target, draft=draft, **ONE))


def test_a_draft_that_reads_its_own_metadata_is_judged_by_itself(tmp_path: Path) -> None:
    target = forge("nemotron_h", tmp_path / "target", "ct-fp8-channel").folder
    other = forge("nemotron_h", tmp_path / "other", "none").folder
    message = why(api.check(target, draft=other, **ONE))
    assert "by the metadata of its own checkpoint" in message
    assert f"judge '{other}' by itself" in message
    assert (
        "own checkpoint" not in api.check(target, draft=other, vllm=["0.28.0"]).findings[0].message
    )


def test_a_list_from_the_headers_of_the_target_cannot_be_judged(tmp_path: Path) -> None:
    target = forge("mimo", tmp_path / "target", "awq", ignore=None).folder
    other = forge("mimo", tmp_path / "other", "none").folder
    assert "headers of the target" in why(api.check(target, draft=other, **ONE))


def test_the_command_line_names_the_draft_again(
    target: Path, draft: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(target), "--draft", str(draft)]
    assert main(["inspect", *words, "--vllm", "0.32.0"]) == 0
    out = capsys.readouterr().out
    assert f"draft         from {draft}" in out
    assert f"mtpfix rewrite {target} --draft {draft}" in out.replace("\n", " ")
    assert main(["rewrite", *words, "--format", "markdown"]) == 1
    assert f"mtpfix rewrite {target} --draft {draft}" in capsys.readouterr().out
    assert main(["check", str(target), str(target), "--draft", str(draft)]) == 2
    assert "--draft is for one target" in capsys.readouterr().err


def test_a_draft_that_is_not_there_is_an_error(target: Path) -> None:
    with pytest.raises(mtpfix.TargetError, match="no such folder"):
        api.check(target, draft=target / "nowhere", **ONE)


def test_a_draft_without_an_mtp_block_is_missing(target: Path, tmp_path: Path) -> None:
    bare = forge("mimo", tmp_path / "bare", "none", shards=2).folder
    index = bare / "model.safetensors.index.json"
    table = json.loads(index.read_text(encoding="utf-8"))
    table["weight_map"] = {n: s for n, s in table["weight_map"].items() if "mtp_layers" not in n}
    index.write_text(json.dumps(table), encoding="utf-8")
    report = api.check(target, draft=bare, **ONE)
    assert report.exit_code == 1
    shutil.rmtree(bare)
