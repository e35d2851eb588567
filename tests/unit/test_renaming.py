"""Other names for the scales of an MTP block, from a folder to a folder that loads."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mtpfix
from mtpfix import Options
from mtpfix.changes.names import HINT
from mtpfix.errors import RefusedError, UsageError
from mtpfix.repair.writing.disk import BACKUP
from tests.cases.materialise import CASES, materialise
from tests.unit.cli.conftest import Run
from tests.unit.cli.conftest import run as run  # noqa: PLC0414 - a fixture
from tools import tiny
from tools.forge import forge

INDEX = "model.safetensors.index.json"
ALONE = "model-00003-of-00003.safetensors"
"""The file that holds the MTP block and nothing else."""
CHOSEN: dict[str, Any] = {"vllm": ["0.32.0"], "platforms": ["cuda"]}
SELECTED = ("--vllm", "0.32.0", "--platform", "cuda")
NEW_FILE, IN_PLACE = Options(rename_tensors=True), Options(rename_in_place=True)
SCALES = {"ct-fp8-block": "weight_scale", "fp8-block": "weight_scale_inv"}
"""Scheme of trunk and block -> what it calls scales."""


@cache
def made(scheme: str, shards: int, wrong: str) -> Path:
    """Return a checkpoint whose block has scales of another name than its scheme gives them."""
    folder = Path(mkdtemp(prefix="mtpfix-renaming-"))
    variant = tiny.variant("glm4_moe", scheme)
    block = forge("glm4_moe", folder, scheme, variant=variant, mtp="quantized", shards=shards).mtp
    right = SCALES[scheme]
    new = {n: n.removesuffix(right) + wrong for n in block if n.endswith(f".{right}")}
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        renamed = {new.get(name, name): tensor for name, tensor in tensors.items()}
        save_file(renamed, file, metadata={"format": "pt"})
    if shards > 1:
        value = json.loads((folder / INDEX).read_text())
        value["weight_map"] = {new.get(n, n): f for n, f in value["weight_map"].items()}
        (folder / INDEX).write_text(json.dumps(value, indent=2))
    return folder


def checkpoint(
    place: Path, scheme: str = "ct-fp8-block", shards: int = 3, wrong: str = "weight_scale_inv"
) -> Path:
    shutil.copytree(made(scheme, shards, wrong), place / "model")
    return place / "model"


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def tensors(folder: Path) -> dict[str, bytes]:
    """The bytes of all tensors, the names of scales made alike."""
    found = {n: t for file in folder.glob("*.safetensors") for n, t in load_file(file).items()}
    return {
        name.removesuffix("_inv"): tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        for name, tensor in found.items()
    }


def names(folder: Path) -> set[str]:
    return {name for file in folder.glob("*.safetensors") for name in load_file(file)}


def indexed(folder: Path) -> set[str]:
    return set(json.loads((folder / INDEX).read_text())["weight_map"])


# --- what is written -------------------------------------------------------------------------


@pytest.mark.parametrize("options", [NEW_FILE, IN_PLACE], ids=["new file", "in place"])
def test_only_names_change_and_the_draft_is_clean(tmp_path: Path, options: Options) -> None:
    folder = checkpoint(tmp_path)
    before, values = content(folder), tensors(folder)
    made = mtpfix.rewrite(folder, **CHOSEN, options=options, write=True)
    assert (made.checked_before.exit_code, made.checked.exit_code) == (1, 0)
    assert made.plan.edits == ()
    assert made.changes == (ALONE, INDEX)
    assert tensors(folder) == values
    assert indexed(folder) == names(folder)
    assert not any(name.endswith("_inv") for name in names(folder))
    changed = {name for name, data in before.items() if (folder / name).read_bytes() != data}
    assert changed == {ALONE, INDEX}
    assert mtpfix.check(folder, vllm=["all"]).exit_code == 0


def test_the_other_way_round(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, "fp8-block", wrong="weight_scale")
    made = mtpfix.rewrite(folder, **CHOSEN, options=NEW_FILE, write=True)
    assert (made.checked_before.exit_code, made.checked.exit_code) == (1, 0)
    assert {new.rpartition(".")[2] for new in made.renames.names.values()} == {"weight_scale_inv"}
    assert indexed(folder) == names(folder)


def test_a_header_that_grows_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, "fp8-block", wrong="weight_scale")
    before = content(folder)
    with pytest.raises(RefusedError, match="bytes more than the old one") as caught:
        mtpfix.rewrite(folder, **CHOSEN, options=IN_PLACE, write=True)
    assert caught.value.repair is not None
    assert content(folder) == before


def test_a_file_of_both_models_is_edited_in_place_only(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, shards=1)
    before, values = content(folder), tensors(folder)
    trunk = {name for name in names(folder) if ".layers.2." not in name}
    with pytest.raises(RefusedError, match="of the target model, too") as caught:
        mtpfix.rewrite(folder, **CHOSEN, options=NEW_FILE, write=True)
    assert "--rename-in-place" in caught.value.remedy
    assert content(folder) == before
    made = mtpfix.rewrite(folder, **CHOSEN, options=IN_PLACE, write=True)
    assert made.checked.exit_code == 0
    assert made.changes == ("model.safetensors",)
    assert tensors(folder) == values
    assert {name for name in names(folder) if ".layers.2." not in name} == trunk


def test_a_new_folder_gets_a_new_file(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path)
    before = content(folder)
    output = tmp_path / "new"
    assert mtpfix.rewrite(folder, **CHOSEN, options=NEW_FILE, output=output).checked.exit_code == 0
    assert content(folder) == before
    assert sorted(path.name for path in output.iterdir() if not path.is_symlink()) == [ALONE, INDEX]
    assert mtpfix.check(output, **CHOSEN).exit_code == 0


def test_nothing_in_a_new_folder_is_edited_in_place(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path)
    with pytest.raises(UsageError, match="links to them"):
        mtpfix.rewrite(folder, **CHOSEN, options=IN_PLACE, output=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_grafted_block_gets_names_and_a_scheme(tmp_path: Path) -> None:
    """An FP8 block beside packed INT4: neither a config group alone helps, nor other names."""
    folder = materialise(CASES / "glm52-awq-cyankiwi" / "fp8-delta", tmp_path / "model")
    some: dict[str, Any] = {"vllm": ["0.20.2", "0.32.0"], "platforms": ["cuda"]}
    assert mtpfix.plan(folder, **some).checked.exit_code == 1
    made = mtpfix.plan(folder, **some, options=NEW_FILE)
    assert made.checked.exit_code == 0
    assert {engine.outcome for engine in made.after.engines} == {"clean"}
    assert [each.partition(":")[0] for each in made.plan.schemes] == ["fp8-block"]
    assert made.changes == ("mtp.safetensors", "config.json", INDEX)


def test_a_native_block_has_experts_that_no_name_helps(tmp_path: Path) -> None:
    folder = materialise(CASES / "dsv4-pro-scale-suffix", tmp_path / "model")
    made = mtpfix.plan(folder, **CHOSEN, options=NEW_FILE)
    assert (bool(made.renames), made.checked.exit_code) == (False, 1)
    assert made.notes[-1].endswith(
        "with each of them `model.layers.61.ffn.experts` cannot be loaded"
    )


# --- what is not ------------------------------------------------------------------------------


def test_what_is_right_keeps_its_names(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, wrong="weight_scale")
    made = mtpfix.plan(folder, **CHOSEN, options=NEW_FILE)
    assert made.changes == ()
    assert (made.checked_before.exit_code, bool(made.renames), made.notes) == (0, False, ())


def test_only_what_is_wrong_gets_another_name(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, wrong="weight_scale")
    file = folder / ALONE
    wrong = "model.layers.2.self_attn.o_proj.weight_scale"
    held = {f"{n}_inv" if n == wrong else n: t for n, t in load_file(file).items()}
    save_file(held, file)
    index = (folder / INDEX).read_text()
    (folder / INDEX).write_text(index.replace(f'{wrong}"', f'{wrong}_inv"'))
    made = mtpfix.rewrite(folder, **CHOSEN, options=NEW_FILE, write=True)
    assert made.renames.names == {f"{wrong}_inv": wrong}
    assert (folder / INDEX).read_text() == index


def test_names_that_help_nobody_are_not_written_and_it_is_said_why(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"]["config_groups"]["group_0"]["targets"] = ["Nothing"]
    (folder / "config.json").write_text(json.dumps(config))
    file = folder / ALONE
    held = load_file(file)
    spoilt = next(n for n in held if n.endswith("o_proj.weight_scale_inv"))
    del held[spoilt]
    save_file(held, file)
    before = content(folder)
    made = mtpfix.plan(folder, **CHOSEN, options=NEW_FILE)
    assert (bool(made.renames), made.checked.exit_code) == (False, 1)
    assert "no other names for scales" in made.notes[-1]
    assert content(folder) == before


def test_without_being_asked_it_is_only_said(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path)
    made = mtpfix.plan(folder, **CHOSEN)
    assert (made.renames_help, bool(made.renames), made.files) == (True, False, {})
    assert not mtpfix.plan(checkpoint(tmp_path / "b", wrong="weight_scale"), **CHOSEN).renames_help


def test_an_inspection_says_so_and_a_check_plans_nothing(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path)
    assert HINT in mtpfix.inspect(folder, **CHOSEN).notes
    assert HINT not in mtpfix.check(folder, **CHOSEN).notes
    right = checkpoint(tmp_path / "b", wrong="weight_scale")
    assert HINT not in mtpfix.inspect(right, **CHOSEN).notes


# --- what a killed run leaves ---------------------------------------------------------------


def test_an_index_that_was_left_behind_follows(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path)
    old = (folder / INDEX).read_bytes()
    mtpfix.rewrite(folder, **CHOSEN, options=NEW_FILE, backup=False, write=True)
    new = json.loads((folder / INDEX).read_bytes())
    (folder / INDEX).write_bytes(old)
    made = mtpfix.rewrite(folder, **CHOSEN, options=NEW_FILE, backup=False, write=True)
    assert (bool(made.renames), made.changes) == (False, (INDEX,))
    assert json.loads((folder / INDEX).read_bytes()) == new


def test_a_torn_header_is_told_with_what_puts_it_right(tmp_path: Path, run: Run) -> None:
    folder = checkpoint(tmp_path)
    whole = (folder / ALONE).read_bytes()
    length = int.from_bytes(whole[:8], "little")
    journal = folder / f".{ALONE}.mtpfix-header"
    inode = (folder / ALONE).stat().st_ino.to_bytes(8, "little")
    journal.write_bytes(inode + whole[: 8 + length] + b" " * length)
    (folder / ALONE).write_bytes(whole[:8] + b'{"' + bytes(98) + whole[108:])
    ran = run("check", folder, *SELECTED)
    assert ran.code == 2
    assert "`mtpfix rewrite --write` takes it back" in ran.err
    run("rewrite", folder, *SELECTED, "--write")
    assert (folder / ALONE).read_bytes() == whole
    assert not journal.exists()


# --- the command line ----------------------------------------------------------------------


def test_the_command_line_hints_shows_and_writes(tmp_path: Path, run: Run) -> None:
    folder = checkpoint(tmp_path)
    ran = run("rewrite", folder, *SELECTED)
    assert ran.code == 1
    assert "--rename-tensors fixes more: it gives scales of the MTP block other names" in ran.err
    ran = run("rewrite", folder, *SELECTED, "--rename-tensors")
    assert ran.code == 1
    assert f"~ weight_scale_inv -> weight_scale  19 tensors of {ALONE}" in ran.err
    assert "Nothing was written." in ran.err
    assert f"--- a/{INDEX}" in ran.out
    ran = run("rewrite", folder, *SELECTED, "--rename-tensors", "--write")
    assert ran.code == 0
    assert f"Wrote {ALONE}, {INDEX}; the old content is kept in *{BACKUP}." in " ".join(
        ran.err.split()
    )


def test_for_programs_each_name_is_listed(tmp_path: Path, run: Run) -> None:
    folder = checkpoint(tmp_path)
    told = run("rewrite", folder, *SELECTED, "--format", "json").json
    assert (told["renames"], told["renames_help"]) == ([], True)
    told = run("rewrite", folder, *SELECTED, "--rename-tensors", "--format", "json").json
    assert told["files"] == [ALONE, INDEX]
    assert len(told["renames"]) == 19
    first = told["renames"][0]
    assert first["file"] == ALONE
    assert first["from"] == f"{first['to']}_inv"


def test_a_pull_request_says_which_names_changed(tmp_path: Path, run: Run) -> None:
    words = ("--rename-tensors", "--format", "markdown")
    said = run("rewrite", checkpoint(tmp_path), *SELECTED, *words).out
    assert "changes no values of weights" in said
    assert f"Renamed: 19 tensors of `{ALONE}`, `weight_scale_inv` to `weight_scale`" in said
    assert "--rename-tensors" in said.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rename-in-place", "--output", "x"), "goes with --write alone"),
        (("--rename-in-place", "--push-to-hub"), "goes with --write alone"),
        (("--rename-in-place", "--rename-tensors"), "exclude each other"),
        (("--rename-tensors", "--draft", "other"), "are not renamed"),
    ],
)
def test_what_contradicts_itself_is_refused(run: Run, words: tuple[str, ...], said: str) -> None:
    ran = run("rewrite", ".", *words)
    assert ran.code == 2
    assert said in " ".join(ran.err.split())


def test_a_refusal_shows_what_is_left_and_the_way_in_place(tmp_path: Path, run: Run) -> None:
    folder = checkpoint(tmp_path, shards=1)
    ran = run("rewrite", folder, *SELECTED, "--rename-tensors", "--write")
    assert ran.code == 1
    assert "--rename-in-place edits the header" in " ".join(ran.err.split())
