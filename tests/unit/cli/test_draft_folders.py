"""A draft folder: what it holds, where it is made, and what is left when that fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mtpfix
from mtpfix import drafting
from mtpfix.errors import ConflictError, RefusedError, UsageError, WriteError
from mtpfix.repair.writing import disk, new_folder
from tests.unit.report.schemas import validator

from .conftest import Folder, Run, header, safetensors

MTP = "model.mtp_layers.0."
INDEX = "model.safetensors.index.json"
ONE = ("--sglang", "0.5.23")
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def document(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def sharded(folder: Folder) -> None:
    """Put the MTP block into a file of its own."""
    tensors = header()
    shards = {
        "model-1.safetensors": {n: t for n, t in tensors.items() if not n.startswith(MTP)},
        "model-2.safetensors": {n: t for n, t in tensors.items() if n.startswith(MTP)},
    }
    (folder.path / "model.safetensors").unlink()
    for name, held in shards.items():
        (folder.path / name).write_bytes(safetensors(held))
    table = {tensor: name for name, held in shards.items() for tensor in held}
    (folder.path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": table}))


def mixed(folder: Folder) -> None:
    """Quantize the MLP of the MTP block, and leave the rest."""
    tensors = header()
    for name in [n for n in tensors if n.startswith(f"{MTP}mlp.")]:
        tensors[name] = ("F8_E4M3", (4, 4))
        tensors[f"{name}_scale"] = ("BF16", (4, 1))
    folder.tensors(tensors)


# --- what it holds -----------------------------------------------------------------------


def test_a_block_without_quantization_gets_no_metadata(run: Run, folder: Folder) -> None:
    sharded(folder)
    folder.save(text_config={"quantization_config": FP8, "x": 1}, compression_config=FP8)
    before = folder.bytes()
    output = folder.path.parent / "draft"
    ran = run("override", folder, *ONE, "--output", output)
    assert ran.code == 0
    assert ran.out == f"--speculative-draft-model-path {output}\n"
    flag = "--speculative-draft-model-quantization unquant if, and only if, --quantization is given"
    assert f"add {flag}\n" in ran.err
    config = document(output / "config.json")
    assert "quantization_config" not in config
    assert "compression_config" not in config
    assert config["text_config"] == {"x": 1}
    rest = {"quantization_config", "compression_config", "text_config"}
    assert {k: v for k, v in config.items() if k not in rest} == {
        k: v for k, v in folder.config.items() if k not in rest
    }
    table = document(output / INDEX)["weight_map"]
    held = set(table.values())
    assert set(names(output)) == {"config.json", INDEX, *held}
    assert {name for name, shard in table.items() if shard == "model-2.safetensors"} == {
        name for name in header() if name.startswith(MTP)
    }
    assert folder.bytes() == before


def test_a_mixed_block_gets_a_list_of_its_own(run: Run, folder: Folder) -> None:
    mixed(folder)
    output = folder.path.parent / "draft"
    ran = run("override", folder, *ONE, "--output", output)
    assert ran.code == 0
    assert "unquant" not in ran.err
    ignore = document(output / "config.json")["quantization_config"]["ignore"]
    assert any("self_attn" in entry for entry in ignore)
    assert not any("mlp" in entry for entry in ignore)
    checked = run("check", folder, "--draft", output, *ONE)
    assert checked.code == 0, checked.out


def test_the_folder_is_what_check_calls_right(run: Run, folder: Folder) -> None:
    output = folder.path.parent / "draft"
    assert run("check", folder, *ONE).code == 1
    assert run("override", folder, *ONE, "--output", output).code == 0
    assert run("check", folder, "--draft", output, *ONE).code == 0


def test_hf_quant_config_stays_behind(run: Run, folder: Folder) -> None:
    sharded(folder)
    for name in ("hf_quant_config.json", "tokenizer.json", "generation_config.json"):
        (folder.path / name).write_text("{}")
    (folder.path / "modeling_x.py").write_text("x = 1")
    output = folder.path.parent / "draft"
    run("override", folder, *ONE, "--output", output)
    assert {"hf_quant_config.json", "tokenizer.json", "modeling_x.py"}.isdisjoint(names(output))
    assert not (output / "generation_config.json").is_symlink()


def test_remote_code_comes_along_where_the_configuration_names_it(run: Run, folder: Folder) -> None:
    folder.save(auto_map={"AutoConfig": "modeling_x.X"})
    (folder.path / "modeling_x.py").write_text("x = 1")
    output = folder.path.parent / "draft"
    run("override", folder, *ONE, "--output", output)
    assert (output / "modeling_x.py").read_text() == "x = 1"


# --- what is said ------------------------------------------------------------------------


def test_without_output_nothing_is_written(run: Run, folder: Folder) -> None:
    ran = run("override", folder, *ONE)
    assert ran.code == 0
    assert "config.json" in ran.out
    assert "`--output DIR` makes it." in ran.out
    assert names(folder.path.parent) == ["model"]


def test_what_is_right_already(run: Run, folder: Folder) -> None:
    folder.ignore("lm_head", r"re:^self_attn\..*", r"re:^mlp\..*")
    output = folder.path.parent / "draft"
    ran = run("override", folder, *ONE, "--output", output)
    assert (ran.code, ran.out) == (0, "")
    assert "already right" in ran.err
    assert not output.exists()


def test_a_block_that_is_lost_is_helped_by_none(run: Run, folder: Folder) -> None:
    folder.tensors({n: t for n, t in header().items() if not n.startswith(MTP)})
    ran = run("override", folder, *ONE)
    assert (ran.code, ran.out) == (1, "")
    assert "no draft folder can fix this" in ran.err


@pytest.mark.parametrize("written", [True, False])
def test_the_document(run: Run, folder: Folder, *, written: bool) -> None:
    output = folder.path.parent / "draft"
    more = ["--output", output] if written else []
    found = run("override", folder, *ONE, *more, "--format", "json").json
    validator("mtpfix.draft-folder/1").validate(found)
    assert found["entries"] is None
    assert found["output"] == (str(output) if written else None)
    assert {each["how"] for each in found["files"]} == {"written", "linked"}


def test_fp8_has_another_way_where_a_root_is_the_drafts_alone(run: Run, folder: Folder) -> None:
    folder.save(quantization_config={**FP8, "ignored_layers": ["lm_head"]})
    ran = run("override", folder, *ONE)
    assert "SGLANG_FP8_IGNORED_LAYERS" not in ran.err  # `self_attn` is in the target's names, too


def test_one_engine_at_a_time(run: Run, folder: Folder) -> None:
    ran = run("override", folder, *ONE, "--vllm", "newest")
    assert ran.code == 2
    assert "take different flags" in ran.err
    ran = run("override", folder, "--vllm", "newest", "--output", folder.path.parent / "draft")
    assert ran.code == 2
    assert "vLLM takes no draft folder" in ran.err


@pytest.mark.parametrize("more", [["--draft", "x/y"], ["--repair-trunk"], ["--engine-names-only"]])
def test_options_that_mean_nothing_here(run: Run, folder: Folder, more: list[str]) -> None:
    ran = run("override", folder, *ONE, *more)
    assert ran.code == 2
    assert "means nothing for a draft folder" in ran.err


# --- hostile places ----------------------------------------------------------------------


@pytest.mark.parametrize("place", ["model/draft", ".", "model"])
def test_no_folder_inside_the_target_or_around_it(folder: Folder, place: str) -> None:
    before = folder.bytes()
    with pytest.raises(UsageError):
        mtpfix.draft_folder(folder.path, sglang=["0.5.23"], output=folder.path.parent / place)
    assert folder.bytes() == before
    assert not (folder.path / "draft").exists()


def test_no_folder_over_another(folder: Folder) -> None:
    output = folder.path.parent / "draft"
    output.mkdir()
    (output / "mine").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        mtpfix.draft_folder(folder.path, sglang=["0.5.23"], output=output)
    assert names(output) == ["mine"]


def test_a_link_to_the_target_is_no_way_in(folder: Folder) -> None:
    link = folder.path.parent / "elsewhere"
    link.symlink_to(folder.path)
    with pytest.raises(UsageError):
        mtpfix.draft_folder(folder.path, sglang=["0.5.23"], output=link / "draft")


def test_links_lead_to_the_file_itself(folder: Folder) -> None:
    blob = folder.path.parent / "blobs" / "abc"
    blob.parent.mkdir()
    (folder.path / "model.safetensors").rename(blob)
    (folder.path / "model.safetensors").symlink_to("../blobs/abc")
    secret = folder.path.parent / "secret"
    secret.write_text("s")
    (folder.path / "generation_config.json").symlink_to(secret)
    output = folder.path.parent / "draft"
    mtpfix.draft_folder(folder.path, sglang=["0.5.23"], output=output)
    link = output / "model.safetensors"
    assert (output / link.readlink()).resolve() == blob
    assert link.readlink() == Path("../blobs/abc")
    assert (output / "generation_config.json").is_symlink()  # what is elsewhere is not copied


@pytest.mark.parametrize("name", ["../x.safetensors", "/x.safetensors", "a/../../x"])
def test_a_name_that_leads_out(folder: Folder, name: str) -> None:
    place = folder.path.parent / "draft"
    with pytest.raises(UsageError, match="inside the folder"):
        new_folder.assemble(place, {}, {name: folder.path / "model.safetensors"})
    assert names(folder.path.parent) == ["model"]


def test_nothing_is_left_of_a_folder_that_fails(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(new_folder, "_bring", fails)
    with pytest.raises(WriteError):
        mtpfix.draft_folder(folder.path, sglang=["0.5.23"], output=folder.path.parent / "draft")
    assert names(folder.path.parent) == ["model"]


def test_what_a_killed_run_left_is_cleared(folder: Folder) -> None:
    left = folder.path.parent / f".draft{disk.TEMPORARY}"
    left.mkdir()
    (left / "config.json").write_text("{")
    output = folder.path.parent / "draft"
    mtpfix.draft_folder(folder.path, sglang=["0.5.23"], output=output)
    assert names(folder.path.parent) == ["draft", "model"]


def test_a_target_that_moves_meanwhile(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    made = drafting.made

    def moving(*arguments: Any) -> Any:
        folder.save(x=1)
        return made(*arguments)

    monkeypatch.setattr(drafting, "made", moving)
    with pytest.raises((ConflictError, RefusedError)):
        mtpfix.draft_folder(folder.path, sglang=["0.5.23"], output=folder.path.parent / "draft")
    assert names(folder.path.parent) == ["model"]
