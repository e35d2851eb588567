"""`rewrite` and `override`: what is shown, what is written, and the exit codes."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import CONFIG, Folder, Run, header

PATCH = shutil.which("patch")
DRAFT = r"re:^model\.layers\.2\..*"
DISK = r"re:^model\.mtp_layers\.0\..*"
SGLANG = [r"re:^self_attn\..*", r"re:^mlp\..*"]
"""What SGLang calls the draft of MiMo: it is built under no name of its own."""


@pytest.fixture(autouse=True)
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether compressed-tensors reads the result is tested elsewhere: it takes seconds."""
    monkeypatch.setattr("mtpfix.delivery.guard.prove", lambda _: ())


# --- the diff ----------------------------------------------------------------


def test_a_diff_exits_1_and_writes_nothing(run: Run, folder: Folder) -> None:
    before = folder.bytes()
    ran = run("rewrite", folder)
    assert ran.code == 1
    assert folder.bytes() == before
    assert ran.out.startswith("--- a/config.json\n+++ b/config.json\n@@")
    assert DRAFT in ran.err
    assert "own spelling" in ran.err
    assert "Nothing was written" in ran.err


@pytest.mark.skipif(PATCH is None, reason="there is no `patch`")
def test_the_diff_on_stdout_can_be_applied(run: Run, folder: Folder) -> None:
    diff = run("rewrite", folder).out
    assert PATCH is not None
    subprocess.run([PATCH, "-p1"], cwd=folder.path, input=diff.encode(), check=True)
    assert run("check", folder, "--vllm", "all", "--platform", "all").code == 0


def test_json_holds_all_of_it(run: Run, folder: Folder) -> None:
    ran = run("rewrite", folder, "--format", "json")
    assert ran.code == 1
    assert not ran.err
    found = ran.json
    assert found["schema"] == "mtpfix.rewrite/1"
    assert found["added"] == [DRAFT, *SGLANG, DISK]
    assert found["files"] == ["config.json"]
    assert found["before"]["exit_code"] == 1
    assert found["after"]["exit_code"] == 0
    assert {o["outcome"] for o in found["after"]["outcomes"]} == {"clean"}
    assert found["diff"].startswith("--- a/config.json")
    assert (found["written"], found["exit_code"]) == (False, 1)


def test_engine_names_only(run: Run, folder: Folder) -> None:
    ran = run("rewrite", folder, "--engine-names-only", "--format", "json")
    assert ran.json["added"] == [DRAFT, *SGLANG]
    ours = run("rewrite", folder, "--engine-names-only", "--engine", "vllm", "--format", "json")
    assert ours.json["added"] == [DRAFT]


def test_colour_makes_the_diff_inert(run: Run, folder: Folder) -> None:
    folder.config["quantization_config"]["ignore"] = ["lm_head", "\u202ex"]
    text = json.dumps(folder.config, indent=1, ensure_ascii=False)
    (folder.path / "config.json").write_text(text, encoding="utf-8")
    assert "\u202e" in run("rewrite", folder).out
    seen = run("rewrite", folder, "--color", "always").out
    assert "\u202e" not in seen
    assert "\x1b[32m" in seen


# --- writing -----------------------------------------------------------------


def test_write_then_check_then_nothing_to_change(run: Run, folder: Folder) -> None:
    old = folder.bytes()["config.json"]
    ran = run("rewrite", folder, "--write")
    assert ran.code == 0
    assert "Wrote config.json" in ran.err
    assert folder.bytes()["config.json.bak-mtpfix"] == old
    assert run("check", folder, "--vllm", "all", "--platform", "all").code == 0

    written = folder.bytes()
    again = run("rewrite", folder, "--write")
    assert (again.code, again.out) == (0, "")
    assert again.err.startswith("✓ already right: the draft is clean on vLLM 0.34.0 (cuda)")
    assert folder.bytes() == written


def test_no_backup(run: Run, folder: Folder) -> None:
    assert run("rewrite", folder, "--write", "--no-backup").code == 0
    assert sorted(folder.bytes()) == ["config.json", "model.safetensors"]


def test_output_makes_a_folder_and_leaves_the_old_one(run: Run, folder: Folder) -> None:
    before, copy = folder.bytes(), folder.path.parent / "copy"
    assert run("rewrite", folder, "--output", copy).code == 0
    assert folder.bytes() == before
    assert (copy / "model.safetensors").read_bytes() == before["model.safetensors"]
    assert run("check", copy, "--vllm", "all").code == 0
    refused = run("rewrite", folder, "--output", copy)
    assert refused.code == 2
    assert refused.err.startswith("error: ")


def test_write_and_output_exclude_each_other(run: Run, folder: Folder) -> None:
    ran = run("rewrite", folder, "--write", "--output", folder.path.parent / "copy")
    assert ran.code == 2
    assert not (folder.path.parent / "copy").exists()


def test_links_are_not_written_through(run: Run, folder: Folder) -> None:
    blob = folder.path.parent / "blob"
    (folder.path / "config.json").rename(blob)
    (folder.path / "config.json").symlink_to(blob)
    before = blob.read_bytes()
    ran = run("rewrite", folder, "--write")
    assert ran.code == 2
    assert "--output DIR" in ran.err
    assert blob.read_bytes() == before


def test_a_folder_that_is_read_only(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refuse(path: str, flags: int, *rest: int, **more: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return opened(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)  # root may write everywhere
    before = folder.bytes()
    ran = run("rewrite", folder, "--write")
    assert ran.code == 2
    assert "Read-only file system" in ran.err
    assert folder.bytes() == before


# --- what stays --------------------------------------------------------------


def mixed(folder: Folder) -> None:
    """One member of a fused layer is quantized on disk: no metadata is right for it."""
    tensors = header()
    tensors["model.mtp_layers.0.mlp.up_proj.weight"] = ("F8_E4M3", (4, 4))
    tensors["model.mtp_layers.0.mlp.up_proj.weight_scale"] = ("BF16", (4, 1))
    folder.tensors(tensors)


@pytest.mark.parametrize("how", ["--write", "--output"])
def test_a_result_as_broken_as_the_source_is_not_written(
    run: Run, folder: Folder, how: str
) -> None:
    mixed(folder)
    before, copy = folder.bytes(), folder.path.parent / "copy"
    where = (how, copy) if how == "--output" else (how,)
    ran = run("rewrite", folder, *where)
    assert ran.code == 1
    assert (folder.bytes(), copy.exists()) == (before, False)
    assert "not fixed:" in ran.err
    assert "error: the result would be as broken as the source (MTP204); nothing was " in ran.err
    assert "hint: --allow-partial" in ran.err
    assert run("rewrite", folder, *where, "--allow-partial").code == 1
    assert (folder.bytes() != before) == (how == "--write")
    assert copy.exists() == (how == "--output")


def test_a_preview_says_that_the_result_would_be_as_broken(run: Run, folder: Folder) -> None:
    mixed(folder)
    ran = run("rewrite", folder)
    assert ran.code == 1
    assert "The result would be as broken as the source" in ran.err
    assert "--allow-partial" in ran.err


def test_what_no_entry_can_fix_is_said(run: Run, folder: Folder) -> None:
    mixed(folder)
    ran = run("rewrite", folder, "--write", "--allow-partial")
    assert ran.code == 1
    assert "Wrote config.json" in ran.err
    assert "not fixed:" in ran.err
    assert "MTP204" in ran.err
    assert "newest release" not in ran.err
    again = run("rewrite", folder)
    assert again.code == 1
    assert not again.out
    assert again.err.startswith("✗ nothing that mtpfix can fix: ")


def test_allow_partial_says_what_may_be_written(run: Run, folder: Folder) -> None:
    ran = run("rewrite", folder, "--allow-partial")
    assert ran.code == 2
    assert "hint: add --write, --output or --push-to-hub" in ran.err


def test_repair_trunk_is_named_where_it_alone_helps(run: Run, folder: Folder) -> None:
    folder.ignore("lm_head", r"re:model\.layers\..*", DISK)
    ran = run("rewrite", folder)
    assert ran.code == 1
    assert "✗ nothing without --repair-trunk: the draft is clean, but the target model" in ran.err
    assert "hint  --repair-trunk also fixes what is said of the target model" in ran.err
    written = run("rewrite", folder, "--output", folder.path.parent / "copy")
    assert written.code == 1
    assert "hint: --repair-trunk also fixes what is said of the target model" in written.err
    assert not (folder.path.parent / "copy").exists()
    assert (
        run("override", folder).err.count(
            "--repair-trunk also fixes what is said of the target model"
        )
        == 1
    )
    assert run("rewrite", folder, "--format", "json").json["repair_trunk_helps"]
    assert run("rewrite", folder, "--repair-trunk", "--write").code == 0
    assert run("check", folder).code == 0


def test_repair_trunk_is_named_where_no_target_fits_the_target_model(
    run: Run, folder: Folder
) -> None:
    group = folder.config["quantization_config"]["config_groups"]["group_0"]
    group["targets"] = [r"re:.*\.(q|k|v|gate|up|down)_proj$"]
    folder.ignore("lm_head", DISK)
    assert run("rewrite", folder, "--format", "json").json["repair_trunk_helps"]
    ran = run("rewrite", folder, "--repair-trunk", "--write")
    assert ran.code == 0
    assert r".self_attn\.o_proj$`" in ran.err.replace("\n", "")
    assert run("check", folder).code == 0


# --- what decides ------------------------------------------------------------

SAMPLE = Path(__file__).parents[3] / "examples" / "deepseek-v4-like"


@pytest.fixture(name="sample")
def _sample(tmp_path: Path) -> Path:
    """README's sample: no metadata helps it before vLLM 0.30 on CUDA."""
    return shutil.copytree(SAMPLE, tmp_path / "sample")


def test_rewrite_then_upload_works_on_the_sample(run: Run, sample: Path) -> None:
    ran = run("rewrite", sample, "--write")
    assert ran.code == 0
    assert "after   ✓ the draft is clean on vLLM 0.34.0 (cuda)" in ran.err
    (others,) = [line for line in ran.err.splitlines() if line.startswith("others  ")]
    assert "the draft fails to load on vLLM 0.20-0.29 on cuda" in others
    (beside,) = [line for line in ran.err.splitlines() if line.startswith("SGLang  ")]
    assert "the model fails to load on SGLang 0.5.13-0.5.23 on cuda, cuda:10.0" in beside
    assert "model.decoder" not in (sample / "config.json").read_text(encoding="utf-8")
    assert "not fixed:" not in ran.err
    assert run("check", sample).code == 0
    again = run("rewrite", sample, "--write")
    assert again.code == 0
    assert again.err.startswith("✓ already right: ")


def test_with_a_selection_all_of_it_must_be_right(run: Run, sample: Path) -> None:
    copy = sample.parent / "copy"
    ran = run("rewrite", sample, "--vllm", ">=0.29", "--output", copy)
    assert ran.code == 1  # and yet it is made: 0.30 and newer are better, none is worse
    assert copy.exists()
    assert "MTP301" in ran.err
    newest = "The newest release judged, vLLM 0.34.0, is clean"
    assert f"{newest}: only older releases are affected." in ran.err
    assert run("rewrite", sample, "--vllm", ">=0.30", "--write").code == 0


def test_one_release_has_no_older_ones(run: Run, sample: Path) -> None:
    ran = run("rewrite", sample, "--vllm", "0.29", "--platform", "cuda")
    assert ran.code == 1
    assert "only older releases" not in ran.err


def test_a_platform_that_is_given_decides_too(run: Run, sample: Path) -> None:
    options = ("--vllm", "0.29", "--write", "--allow-partial")
    assert run("rewrite", sample, "--platform", "rocm", *options).code == 0
    assert run("rewrite", sample, *options).code == 1


def test_the_document_says_what_decides(run: Run, sample: Path) -> None:
    found = run("rewrite", sample, "--format", "json").json
    engines = [{"engine": "vllm", "releases": ["0.34.0"]}]
    decisive = {"releases": ["0.34.0"], "platforms": ["cuda"], "engines": engines}
    assert found["selection"]["decisive"] == decisive
    assert len(found["selection"]["planned"]["releases"]) > 10
    assert [one["outcome"] for one in found["checked"]["outcomes"]] == ["clean"]
    assert (found["checked"]["exit_code"], found["after"]["exit_code"]) == (0, 1)
    dead = [f["message"] for f in found["checked"]["findings"] if f["code"] == "MTP101"]
    assert not any("mtp\\.0" in message for message in dead)


def test_names_and_override_exit_by_what_decides(run: Run, sample: Path) -> None:
    for command in ("names", "override"):
        assert run(command, sample).code == 0
        assert run(command, sample, "--vllm", "all").code == 1


def test_an_unknown_family_is_not_repaired(run: Run, folder: Folder) -> None:
    folder.save(architectures=["UnheardOfForCausalLM"])
    before = folder.bytes()
    ran = run("rewrite", folder, "--write")
    assert ran.code == 3
    assert folder.bytes() == before


# --- override ----------------------------------------------------------------


def test_override_is_ready_for_a_shell(run: Run, folder: Folder) -> None:
    ran = run("override", folder)
    assert ran.code == 0
    flag, value = shlex.split(ran.out)
    assert flag == "--hf-overrides"
    expected = {**CONFIG["quantization_config"], "ignore": ["lm_head", DRAFT, DISK]}
    assert json.loads(value) == {"quantization_config": expected}
    assert run("override", folder, "--format", "json").json == json.loads(value)


def test_no_override_is_needed(run: Run, folder: Folder) -> None:
    folder.ignore("lm_head", DRAFT, DISK)
    ran = run("override", folder)
    assert (ran.code, ran.out) == (0, "")
    assert "already right" in ran.err
    assert run("override", folder, "--format", "json").json == {}
