"""The plugin and a repo: what vLLM has fetched is read where it lies, and no weight is fetched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from mtpfix.errors import TargetError
from mtpfix.serving.memory import Running, Served, in_force, judged
from tests.hub.conftest import NAME, SAMPLE
from tests.hub.server import Hub, Repo

RUNNING = Running("0.32.0", "cuda")
METADATA = in_force(json.loads((SAMPLE / "config.json").read_text(encoding="utf-8")))


def served(cache: Path | None = None) -> Served:
    return Served(
        NAME, None, "compressed-tensors", METADATA, cache=None if cache is None else str(cache)
    )


def test_a_repo_is_judged_by_its_headers(hub: Hub, repo: Repo) -> None:
    found = judged(served(), served(), RUNNING)
    assert found.metadata is not None
    assert "re:^mtp\\.0\\..*" in found.metadata.value["ignore"]
    assert found.said.endswith(
        "To repair it for good: mtpfix rewrite hf://org/v4 --vllm 0.32.0 --platform cuda "
        "--push-to-hub --create-pr"
    )
    weights = [sent for _, path, sent in hub.requests if path.endswith(".safetensors")]
    assert weights
    assert all(weights), "a shard was asked for without a range"


def test_offline_the_folder_of_download_dir_is_read(
    hub: Hub, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = repo.resolve("main")
    assert commit is not None
    place = tmp_path / "downloads" / f"models--{NAME.replace('/', '--')}"
    shutil.copytree(SAMPLE, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = judged(served(tmp_path / "downloads"), served(tmp_path / "downloads"), RUNNING)
    assert found.metadata is not None
    assert hub.requests == []
    with pytest.raises(TargetError):
        judged(served(), served(), RUNNING)
