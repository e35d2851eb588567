"""A target and its draft from two repos, or a repo and a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mtpfix
from mtpfix.errors import RefusedError
from mtpfix.serving.memory import Running, Served, in_force, judged
from tests.hub.server import GOOD_TOKEN, Hub, Repo, sparse
from tools.forge import forge

TARGET, DRAFT = "org/target", "org/draft"


@pytest.fixture(name="folders")
def _folders(hub: Hub, tmp_path: Path) -> tuple[Path, Path]:
    """A target that is right for its own quantized MTP block, and a draft in BF16, both repos."""
    made = (
        forge("mimo", tmp_path / "target", "ct-fp8-channel", mtp="quantized", shards=2).folder,
        forge("mimo", tmp_path / "draft", "none").folder,
    )
    for name, folder in zip((TARGET, DRAFT), made, strict=True):
        hub.repos[name] = Repo()
        hub.repos[name].commit({p.name: sparse(p.read_bytes()) for p in folder.iterdir()})
    return made


def test_two_repos_are_judged_by_their_headers(hub: Hub, folders: tuple[Path, Path]) -> None:
    target, draft = folders
    found = mtpfix.check(TARGET, draft=DRAFT, vllm=["0.32.0"])
    assert found.draft is not None
    assert (found.draft.kind, found.draft.name) == ("hub", DRAFT)
    here = mtpfix.check(target, draft=draft, vllm=["0.32.0"])
    assert found.engines == here.engines
    weights = [sent for _, path, sent in hub.requests if path.endswith(".safetensors")]
    assert weights
    assert all(weights), "a shard was asked for without a range"


def test_a_commit_is_its_own_draft(hub: Hub, folders: tuple[Path, Path]) -> None:
    commit = hub.repos[TARGET].resolve("main")
    assert mtpfix.check(TARGET, draft=f"{TARGET}@{commit}", vllm=["0.32.0"]).draft is None


def test_a_repair_that_spoils_the_own_block_is_not_pushed(
    hub: Hub, folders: tuple[Path, Path]
) -> None:
    before = dict(hub.repos[TARGET].branches)
    with pytest.raises(RefusedError, match="wrong for the MTP block of the repo itself"):
        mtpfix.push(TARGET, draft=DRAFT, token=GOOD_TOKEN)
    assert hub.repos[TARGET].branches == before
    done = mtpfix.push(TARGET, draft=DRAFT, token=GOOD_TOKEN, allow_partial=True)
    assert done.pushed is not None
    assert done.pushed.commit
    assert mtpfix.check(TARGET, draft=DRAFT).exit_code == 0
    assert hub.repos[DRAFT].messages == []


def test_the_plugin_sees_another_revision_of_the_draft(
    hub: Hub, folders: tuple[Path, Path]
) -> None:
    """`--revision` is the target's: the draft is loaded from main."""
    target, draft = folders
    commit = hub.repos[TARGET].resolve("main")
    hub.repos[TARGET].commit({p.name: sparse(p.read_bytes()) for p in draft.iterdir()})
    stated = in_force(json.loads((target / "config.json").read_text(encoding="utf-8")))
    found = judged(
        Served(TARGET, commit, "compressed-tensors", stated),
        Served(TARGET),
        Running("0.32.0", "cuda"),
    )
    assert found.models == ("target",)
    assert found.metadata is not None
    assert f"rewrite hf://{TARGET}@{commit} --draft hf://{TARGET} --vllm" in found.said
