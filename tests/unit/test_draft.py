"""A draft from another checkpoint: the trunk of one, the MTP block of the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

import mtpfix
from mtpfix.cli import main
from mtpfix.cli.options import ReportFormat
from mtpfix.model import Report, State
from tools.forge import forge

ONE: dict[str, Any] = {"vllm": ["0.32.0"], "platforms": ["cuda"]}
INDEX = "model.safetensors.index.json"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Its own MTP block is quantized, and its metadata right for that."""
    return made(tmp_path / "target", "ct-fp8-channel", shards=2)


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    """In BF16."""
    return made(tmp_path / "draft", "none")


def made(folder: Path, scheme: str, family: str = "mimo", **more: Any) -> Path:
    return forge(family, folder, scheme, **{"mtp": "quantized", **more}).folder


def edited(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    config = {**json.loads(file.read_text(encoding="utf-8")), **changes}
    file.write_text(json.dumps(config), encoding="utf-8")


def mapped(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
    return found


def why(report: Report) -> str:
    assert report.exit_code == 3
    return report.findings[0].message


# --- judged ----------------------------------------------------------------------


def test_the_draft_is_judged_as_it_is_stored_elsewhere(target: Path, draft: Path) -> None:
    assert mtpfix.check(target, **ONE).exit_code == 0
    report = mtpfix.check(target, draft=draft, **ONE)
    assert report.exit_code == 1
    assert report.engines[0].outcome == "silent_garbage"
    assert report.draft is not None
    assert report.draft.name == str(draft)
    modules = [m for m in report.engines[0].modules if m.decision.module.part == "draft"]
    assert {m.disk.state for m in modules} == {State.UNQUANTIZED}


def test_the_trunk_is_the_targets(target: Path, draft: Path) -> None:
    """That of the draft's checkpoint is not quantized, and nothing loads it."""
    report = mtpfix.inspect(target, draft=draft, trunk=True, **ONE)
    trunk = [m for m in report.engines[0].modules if m.decision.module.part == "trunk"]
    assert trunk
    assert all(m.agrees for m in trunk)


def test_heads_are_two(tmp_path: Path, draft: Path) -> None:
    """A target that ties its head has none; that of the draft is none of the trunk's."""
    target = made(tmp_path / "tied", "modelopt-fp8", ignore=None)
    file = target / "model.safetensors"
    weights = {n: w for n, w in load_file(file).items() if not n.startswith("lm_head")}
    save_file(weights, file)
    edited(target, tie_word_embeddings=True)
    report = mtpfix.check(target, draft=draft, **ONE)
    assert "MTP206" not in {finding.code for finding in report.findings}


def test_files_of_an_mtp_block_that_nothing_loads_do_not_count(target: Path, draft: Path) -> None:
    mtpfix.rewrite(target, draft=draft, backup=False, **ONE, write=True)
    shards = mapped(target)
    block = next(shard for name, shard in shards.items() if "mtp_layers" in name)
    (target / block).rename(target / "stray.safetensors")
    assert mtpfix.check(target, draft=draft, **ONE).exit_code == 0
    with pytest.raises(mtpfix.TargetError, match="is not there"):
        mtpfix.check(target, **ONE)


def test_the_target_as_its_own_draft_is_no_other(target: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(target)
    report = mtpfix.check(target, draft=link, **ONE)
    assert (report.exit_code, report.draft) == (0, None)


def test_formats_that_do_not_meet_are_no_crash(tmp_path: Path) -> None:
    target = made(tmp_path / "t", "modelopt-nvfp4", "mimo_v2", mtp="mixed")
    draft = made(tmp_path / "d", "ct-nvfp4", "mimo_v2")
    assert mtpfix.check(target, draft=draft, **ONE).exit_code == 1


def test_a_draft_without_an_mtp_block_is_wrong(target: Path, tmp_path: Path) -> None:
    bare = made(tmp_path / "bare", "none", shards=2)
    table = {name: shard for name, shard in mapped(bare).items() if "mtp_layers" not in name}
    (bare / INDEX).write_text(json.dumps({"weight_map": table}), encoding="utf-8")
    assert mtpfix.check(target, draft=bare, **ONE).exit_code == 1


def test_files_of_the_draft_are_told_as_its_own(target: Path, tmp_path: Path) -> None:
    draft = made(tmp_path / "draft", "none", shards=2)
    table = {name: shard for name, shard in mapped(draft).items() if "down_proj" not in name}
    (draft / INDEX).write_text(json.dumps({"weight_map": table}), encoding="utf-8")
    report = mtpfix.check(target, draft=draft, **ONE)
    (finding,) = [f for f in report.findings if f.code == "MTP402"]
    assert finding.message.startswith("draft: 'model-0000")
    assert finding.where is None
    (draft / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(mtpfix.BrokenFileError, match=r"^draft: 'config.json'"):
        mtpfix.check(target, draft=draft, **ONE)


# --- repaired --------------------------------------------------------------------


def test_the_target_is_repaired_and_the_draft_left_alone(target: Path, draft: Path) -> None:
    before = (draft / "config.json").read_bytes()
    repair = mtpfix.rewrite(target, draft=draft, backup=False, **ONE, write=True)
    assert repair.after.exit_code == 0
    assert repair.plan.added == (r"re:^model\.layers\.2\..*", r"re:^model\.mtp_layers\.0\..*")
    assert mtpfix.check(target, draft=draft, **ONE).exit_code == 0
    assert (draft / "config.json").read_bytes() == before


def test_that_the_targets_own_block_is_another_matter_is_said(target: Path, draft: Path) -> None:
    repair = mtpfix.rewrite(target, draft=draft, backup=False, **ONE, write=True)
    assert "the MTP block of the target itself is not judged" in repair.after.notes[-1]
    assert mtpfix.check(target, **ONE).exit_code == 1


def test_a_quantized_draft_takes_entries_away(target: Path, draft: Path, tmp_path: Path) -> None:
    mtpfix.rewrite(target, draft=draft, backup=False, **ONE, write=True)
    repair = mtpfix.plan(target, draft=made(tmp_path / "q", "ct-fp8-channel"), **ONE)
    assert repair.after.exit_code == 0
    assert r"re:^model\.layers\.2\..*" in repair.plan.removed


def test_an_override_repairs_it_too(target: Path, draft: Path) -> None:
    value = json.loads(mtpfix.override(target, draft=draft, **ONE).value)
    assert r"re:^model\.layers\.2\..*" in value["quantization_config"]["ignore"]


# --- not judged ------------------------------------------------------------------


def test_a_draft_of_another_family(target: Path, tmp_path: Path) -> None:
    other = made(tmp_path / "other", "none", "glm4_moe")
    assert "belongs to another family" in why(mtpfix.check(target, draft=other, **ONE))


def test_a_draft_that_is_no_mtp_block_is_named(target: Path, draft: Path) -> None:
    edited(draft, architectures=["LlamaForCausalLMEagle3"], model_type="llama")
    report = mtpfix.check(target, draft=draft, **ONE)
    assert [finding.code for finding in report.findings] == ["MTP901", "MTP007"]
    assert report.exit_code == 3


def test_a_draft_of_another_shape(target: Path, draft: Path) -> None:
    edited(draft, num_hidden_layers=3)
    assert "describes a different draft" in why(mtpfix.check(target, draft=draft, **ONE))
    edited(draft, num_hidden_layers="abc")
    assert "'abc' is not a whole number" in why(mtpfix.check(target, draft=draft, **ONE))


def test_a_key_that_only_one_of_the_two_has(tmp_path: Path) -> None:
    """HY-V4 builds its draft by a key of the draft's own config.json."""
    target = made(tmp_path / "target", "ct-fp8-channel", "hy_v4")
    draft = made(tmp_path / "draft", "ct-fp8-channel", "hy_v4")
    assert mtpfix.check(target, draft=draft, **ONE).exit_code == 0
    edited(draft, mtp_quant_algo="FP8")
    assert "describes a different draft" in why(mtpfix.check(target, draft=draft, **ONE))


@pytest.mark.parametrize("scheme", ["ct-fp8-channel", "none"])
def test_a_draft_that_reads_its_own_metadata(tmp_path: Path, scheme: str) -> None:
    target = made(tmp_path / "target", scheme, "nemotron_h", mtp="bf16")
    other = made(tmp_path / "other", "ct-fp8-channel", "nemotron_h", mtp="bf16")
    message = why(mtpfix.check(target, draft=other, vllm=[">=0.29"]))
    assert "vLLM 0.30.0, 0.31.0, 0.32.0, 0.33.0, 0.34.0 builds this draft with" in message
    assert f"judge '{other}' by itself" in message
    assert mtpfix.check(target, draft=other, vllm=["0.28.0"]).exit_code == 0 or scheme != "none"


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"quant_method": "bitsandbytes"}, "vLLM 0.28 and newer have no bitsandbytes"),
        ({"quant_method": "zzz"}, "vLLM reads the draft's own metadata first"),
        ({"quant_method": "fbgemm_fp8"}, "deprecated"),
    ],
)
def test_metadata_of_the_draft_that_vllm_refuses(
    target: Path, draft: Path, stated: dict[str, Any], said: str
) -> None:
    edited(draft, quantization_config=stated)
    assert said in why(mtpfix.check(target, draft=draft, **ONE))


def test_metadata_of_the_draft_that_is_none(target: Path, draft: Path) -> None:
    edited(draft, quantization_config=[])
    with pytest.raises(mtpfix.BrokenFileError, match=r"^draft: config.json: /quantization_config"):
        mtpfix.check(target, draft=draft, **ONE)


def test_a_draft_that_is_not_there(target: Path) -> None:
    with pytest.raises(mtpfix.TargetError, match="no such folder"):
        mtpfix.check(target, draft=target / "nowhere", **ONE)


# --- told ------------------------------------------------------------------------


@pytest.mark.parametrize("form", [each.value for each in ReportFormat])
def test_every_format_names_the_draft(
    target: Path, draft: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["check", str(target), "--draft", str(draft), "--format", form])
    assert str(draft) in capsys.readouterr().out


def test_the_command_line_names_it_again(
    target: Path, draft: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(target), "--draft", str(draft)]
    assert main(["inspect", *words, "--vllm", "0.32.0"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"mtpfix rewrite {target} --draft {draft}" in shown
    assert main(["check", str(target), str(target), "--draft", str(draft)]) == 2
    assert "--draft works with one target only" in capsys.readouterr().err


def test_the_text_of_a_pull_request_names_it_without_its_path(
    target: Path, draft: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(target), "--draft", str(draft), "--format", "markdown"]
    assert main(["rewrite", *words]) == 1
    out = capsys.readouterr().out
    assert "match the MTP block of another checkpoint, `draft`" in out
    assert f"--draft {draft.name}" in out
    assert str(draft) not in out.replace(str(target), "")
