"""mtpfix.indexing: an index that is wrong about the MTP block, corrected in one repair."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import mtpfix
from mtpfix.cli import main
from mtpfix.errors import OverrideError, RefusedError, TargetError
from mtpfix.model import Finding, Report
from mtpfix.repair.index import Refusal
from tools.forge import forge
from tools.index_faults import BLOCK, CONSOLIDATED, INDEX, MENDED, REFUSED, SINGLE, index

ONE: dict[str, Any] = {"vllm": ["0.32.0"], "platforms": ["cuda"]}
OPTIONS = ("--vllm", "0.32.0", "--platform", "cuda")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    """A sound checkpoint in three shards, and the tensors of its MTP block."""
    folder = tmp_path_factory.mktemp("sound")
    block = forge("glm4_moe", folder, shards=3).mtp
    mtpfix.rewrite(folder, **ONE, backup=False, write=True)
    return folder, block


@pytest.fixture
def spoilt(
    sound: tuple[Path, tuple[str, ...]], request: pytest.FixtureRequest, tmp_path: Path
) -> Path:
    """The same with a fault."""
    folder, block = sound
    made = shutil.copytree(folder, tmp_path / "model")
    {**MENDED, **REFUSED}[request.param](made, block)
    return made


def kinds(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("spoilt", names, indirect=True)


def held(folder: Path) -> dict[str, str]:
    """Tensor -> file, as the files say."""
    found = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found.update(dict.fromkeys(file.keys(), path.name))
    return found


def index_of(folder: Path) -> str:
    return CONSOLIDATED if (folder / CONSOLIDATED).exists() else INDEX


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


def about(report: Report, code: str) -> Finding:
    return next(finding for finding in report.findings if finding.code == code)


def refusals(folder: Path) -> tuple[Refusal, ...]:
    return mtpfix.plan(folder, **ONE).index.refused


# --- corrected -------------------------------------------------------------------


@kinds(*MENDED)
def test_a_wrong_index_is_corrected(spoilt: Path, sound: tuple[Path, tuple[str, ...]]) -> None:
    made = mtpfix.rewrite(spoilt, **ONE, backup=False, write=True)
    assert made.index.edits == made.edits
    assert made.exit_code == 0
    found = index(spoilt, index_of(spoilt))
    assert found["weight_map"] == held(spoilt)
    assert found["metadata"] == index(sound[0])["metadata"]
    report = mtpfix.check(spoilt, **ONE)
    assert (report.exit_code, report.findings) == (0, ())
    assert mtpfix.plan(spoilt, **ONE).files == {}


@kinds(*(kind for kind in MENDED if kind != "renamed-file"))
def test_findings_have_the_edits(spoilt: Path) -> None:
    report = mtpfix.inspect(spoilt, **ONE)
    assert report.findings
    for finding in report.findings:
        assert finding.fix is not None
        assert finding.fix.applicability == "safe"
        assert {edit.file for edit in finding.fix.edits} == {index_of(spoilt)}


@kinds("unnamed")
def test_the_gate_plans_nothing(spoilt: Path) -> None:
    report = mtpfix.check(spoilt, **ONE)
    assert report.exit_code == 1
    assert all(f.fix is not None and not f.fix.edits for f in report.findings)
    assert "mtpfix rewrite" in (about(report, "MTP004").remedy or "")


@kinds("unnamed")
def test_index_and_metadata_are_repaired_at_once(spoilt: Path) -> None:
    config = json.loads((spoilt / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"]["ignore"] = ["lm_head"]
    (spoilt / "config.json").write_text(json.dumps(config), encoding="utf-8")
    made = mtpfix.rewrite(spoilt, **ONE, write=True)
    assert list(made.files) == ["config.json", INDEX]  # in this order
    assert made.plan.added
    assert made.before.engines[0].outcome == "silent_garbage"
    assert (made.exit_code, made.after.engines[0].outcome) == (0, "clean")
    assert f"+++ b/{INDEX}" in made.diff
    assert (spoilt / f"{INDEX}.bak-mtpfix").exists()
    assert mtpfix.check(spoilt, **ONE).exit_code == 0


@kinds("unnamed")
def test_a_new_folder_gets_an_index_of_its_own(spoilt: Path, tmp_path: Path) -> None:
    old = (spoilt / INDEX).read_bytes()
    mtpfix.rewrite(spoilt, **ONE, output=tmp_path / "new")
    assert (spoilt / INDEX).read_bytes() == old
    assert mtpfix.check(tmp_path / "new", **ONE).exit_code == 0


@kinds("unnamed")
def test_no_override_reaches_an_index(spoilt: Path) -> None:
    with pytest.raises(OverrideError, match=INDEX):
        mtpfix.override(spoilt, **ONE)


@kinds("unnamed")
def test_a_draft_from_elsewhere_leaves_the_index_alone(
    spoilt: Path, sound: tuple[Path, tuple[str, ...]]
) -> None:
    assert mtpfix.plan(spoilt, **ONE, draft=sound[0]).files == {}


@kinds("unnamed")
def test_the_command_says_what_it_corrects(
    spoilt: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rewrite", "--write", *OPTIONS, str(spoilt)]) == 0
    shown = capsys.readouterr()
    assert f"~ {INDEX}: name 34 tensors of {BLOCK}" in " ".join(shown.err.split())
    assert shown.out.startswith(f"--- a/{INDEX}")


@kinds("unnamed")
def test_json_and_markdown_say_it_too(spoilt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rewrite", "--format", "json", *OPTIONS, str(spoilt)]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["index"] == {"changes": [f"name 34 tensors of {BLOCK}"], "refused": []}
    assert document["files"] == [INDEX]
    assert len(document["edits"]) == 35
    assert main(["rewrite", "--format", "markdown", *OPTIONS, str(spoilt)]) == 1
    assert f"In `{INDEX}`: name 34 tensors" in capsys.readouterr().out


@kinds("unnamed")
def test_a_size_that_was_that_of_all_files_stays(
    spoilt: Path, sound: tuple[Path, tuple[str, ...]]
) -> None:
    found, whole = index(spoilt), index(sound[0])["metadata"]
    (spoilt / INDEX).write_text(json.dumps({**found, "metadata": whole}), encoding="utf-8")
    mtpfix.rewrite(spoilt, **ONE, write=True)
    assert index(spoilt)["metadata"] == whole


@kinds("renamed-file")
def test_a_file_that_is_absent_is_told_as_vllm_tells_it(spoilt: Path) -> None:
    made = mtpfix.plan(spoilt, vllm=["0.25.1", "0.26.0"], platforms=["cuda"])
    assert [each.outcome for each in made.before.engines] == ["silent_garbage", "load_error"]
    assert (made.before.engines[1].error or "").startswith("FileNotFoundError: Weight files")
    assert f"names {BLOCK!r}, which is not there" in about(made.before, "MTP402").message
    assert made.exit_code == 0
    with pytest.raises(TargetError):
        mtpfix.check(spoilt, **ONE)


# --- refused ---------------------------------------------------------------------


@kinds(*REFUSED)
def test_what_no_edit_mends_is_left_alone(spoilt: Path) -> None:
    old = (spoilt / INDEX).read_bytes()
    with contextlib.suppress(RefusedError):
        assert mtpfix.rewrite(spoilt, **ONE, write=True).files == {}
    assert (spoilt / INDEX).read_bytes() == old


@kinds("whole-single-file")
def test_a_block_among_other_weights_is_copied_by_the_command_that_is_told(spoilt: Path) -> None:
    (refusal,) = refusals(spoilt)
    assert (refusal.file, "vLLM would load both" in refusal.reason) == (SINGLE, True)
    run(refusal, spoilt)
    (spoilt / SINGLE).unlink()
    made = mtpfix.rewrite(spoilt, **ONE, write=True)
    assert made.index.done == ("name 34 tensors of mtp.safetensors",)
    assert mtpfix.check(spoilt, **ONE).exit_code == 0


@kinds("stray-scale")
def test_a_leftover_tensor_is_taken_out_by_the_command_that_is_told(spoilt: Path) -> None:
    (refusal,) = refusals(spoilt)
    assert (refusal.file, "has no place" in refusal.reason) == (BLOCK, True)
    finding = about(mtpfix.inspect(spoilt, **ONE), "MTP402")
    assert refusal.remedy in (finding.remedy or "")
    run(refusal, spoilt)
    assert mtpfix.check(spoilt, **ONE).exit_code == 0


def run(refusal: Refusal, folder: Path) -> None:
    """Run the command of a remedy."""
    command = refusal.remedy.split("`")[1]
    assert command.startswith("python -c ")
    command = shlex.quote(sys.executable) + command.removeprefix("python")
    subprocess.run(["/bin/sh", "-c", command], cwd=folder, check=True)


@kinds("leftover")
def test_a_copy_of_what_is_named_is_to_be_moved_away(spoilt: Path) -> None:
    (refusal,) = refusals(spoilt)
    assert refusal.remedy.startswith(f"move {SINGLE!r} out of the folder")
    assert codes(mtpfix.check(spoilt, **ONE)) == {"MTP004", "MTP005"}


@kinds("two-blocks", "doubled")
def test_of_two_files_neither_is_chosen(spoilt: Path) -> None:
    assert len({refusal.file for refusal in refusals(spoilt)}) == 2


@kinds("other-format")
def test_another_format_is_left_by_a_flag(spoilt: Path) -> None:
    (refusal,) = refusals(spoilt)
    assert "`--load-format safetensors`" in refusal.remedy


@kinds("lost-tensor")
def test_the_name_of_a_lost_tensor_stays_for_graft(spoilt: Path) -> None:
    made = mtpfix.plan(spoilt, **ONE)
    assert made.files == {}
    assert "mtpfix graft" in (about(made.checked, "MTP006").remedy or "")


@kinds("lost-file")
def test_an_index_without_a_lost_file_can_be_read_again(spoilt: Path) -> None:
    made = mtpfix.rewrite(spoilt, **ONE, allow_partial=True, write=True)
    assert made.index.done == (
        f"take out the names of 34 tensors that are not in {BLOCK}, nor elsewhere",
    )
    assert codes(mtpfix.check(spoilt, **ONE)) == {"MTP001"}


@kinds("unnamed")
def test_old_stacked_experts_beside_new_ones_are_not_named(spoilt: Path) -> None:
    mtpfix.rewrite(spoilt, **ONE, backup=False, write=True)
    stacked = "model.layers.2.mlp.experts.gate_up_proj"
    tensors = load_file(spoilt / BLOCK)
    save_file({**tensors, stacked: torch.zeros(2, 2, 2)}, spoilt / BLOCK)
    (refusal,) = refusals(spoilt)
    assert stacked in refusal.reason
