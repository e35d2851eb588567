"""A draft folder for a repo: only the bytes of the MTP block travel, into one new shard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from mtpfix import drafting, errors
from mtpfix.cli import main
from tests.hub.server import GOOD_TOKEN, Hub, Repo, sparse
from tools.forge import forge

NAME = "org/next"
SHARD = "model-mtp.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture(name="model", scope="module")
def _model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forged") / "next"
    forge("qwen3_next", folder, "ct-fp8-channel", shards=3)
    (folder / "generation_config.json").write_text("{}")
    return folder


@pytest.fixture(name="theirs")
def _theirs(hub: Hub, model: Path) -> Repo:
    repo = hub.repos[NAME] = Repo()
    repo.commit({path.name: sparse(path.read_bytes()) for path in model.iterdir()})
    return repo


def command(*more: object) -> int:
    words = ["override", NAME, "--sglang", "0.5.23", "--token", GOOD_TOKEN, *more]
    return main([str(word) for word in words])


@pytest.mark.usefixtures("theirs")
def test_the_block_alone_is_fetched(tmp_path: Path, model: Path) -> None:
    output = tmp_path / "draft"
    assert command("--output", output) == 0
    held = {"config.json", "generation_config.json", INDEX, SHARD}
    assert {path.name for path in output.iterdir()} == held
    assert not any(path.is_symlink() for path in output.iterdir())
    assert "quantization_config" not in json.loads((output / "config.json").read_text())
    table = json.loads((output / INDEX).read_text())["weight_map"]
    with (
        safe_open(output / SHARD, "pt") as ours,
        safe_open(model / "model-00003-of-00003.safetensors", "pt") as base,
    ):
        block = [name for name in list(base.keys()) if name.startswith("mtp.")]
        assert sorted(ours.keys()) == sorted(table) == sorted(block)
        for name in table:
            assert ours.get_tensor(name).equal(base.get_tensor(name))
    assert main(["check", NAME, "--draft", str(output), "--sglang", "0.5.23"]) == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.usefixtures("theirs")
def test_without_output_no_weight_is_fetched(
    hub: Hub, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command() == 0
    assert f"{SHARD}  " in capsys.readouterr().out
    assert not (tmp_path / "draft").exists()


@pytest.mark.usefixtures("theirs")
def test_a_cut_leaves_nothing_at_the_place_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "draft"

    def cut(*_: object, **__: object) -> None:
        raise errors.TargetError("cut")

    with monkeypatch.context() as patched:
        patched.setattr(drafting.new_folder, "assemble", cut)
        assert command("--output", output) == 2
    assert not output.exists()
    assert command("--output", output) == 0
    assert (output / SHARD).is_file()
