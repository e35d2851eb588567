"""A lost block comes back over the Hub: few bytes, one commit, and nothing that was not judged."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import mtpfix
from mtpfix import Options, calls
from mtpfix.delivery import hub as to_hub
from mtpfix.repair.publish import can_copy
from mtpfix.selection import select
from mtpfix.targets import Reference
from tests.cases.materialise import CASES, materialise
from tests.hub import pairs, server
from tests.hub.conftest import Graft
from tests.hub.pairs import ALONE, BASE, INDEX, MANIFEST, SHARD, TARGET, Pair, Shape
from tests.hub.repos import Repo, sparse
from tests.hub.server import GOOD_TOKEN, READ_TOKEN, Hub
from tests.hub.traffic import base_regions, traffic

PUSH = ("--push-to-hub", "--token", GOOD_TOKEN)
copying = pytest.mark.skipif(not can_copy(), reason="huggingface_hub before 1.17")
pytestmark = [
    pytest.mark.usefixtures("uploads"),
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]


def head(repo: Repo) -> str:
    return repo.branches["main"]


def changed(made: Pair, before: str, after: str = "main") -> dict[str, bytes]:
    """The files that differ between two commits of the target, whole."""
    old = made.files(before)
    new = {name: file for name, file in made.files(after).items() if old.get(name) != file}
    assert old.keys() <= made.files(after).keys()
    return {name: b"".join(file.cut(0, file.size)) for name, file in new.items()}


# --- what travels ------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [(), PUSH])
def test_of_a_large_base_only_the_block_travels(
    hub: Hub, graft: Graft, extra: tuple[str, ...]
) -> None:
    made = pairs.pair(hub, Shape(width=512, layers=43, shards=128, spread=28))
    regions = base_regions(made.base)
    assert graft(*extra)[0] == (0 if extra else 1)
    seen = traffic(hub, BASE, regions)
    assert seen["header"].requests == 28 + 1  # and that of the embedding
    assert seen["header"].size < 120_000
    assert seen["slice"].requests == 8 + 4 + 1
    assert seen["slice"].size <= 13 << 16
    block = seen["block"]
    assert block.requests == (28 if extra else 0)
    assert block.size <= 1.02 * made.size
    read = {path.rpartition("/")[2] for _, path, _ in hub.requests if f"/cdn/{BASE}/" in path}
    assert len(read) == 29
    assert hub.received == (0 if not extra else made.files()[SHARD].size)


def test_what_is_converted_travels_by_few_requests_too(hub: Hub, graft: Graft) -> None:
    made = pairs.pair(hub, Shape(width=256, spread=2, fp8=True))
    assert graft(*PUSH, "--precision", "bf16")[0] == 0
    block = traffic(hub, BASE, base_regions(made.base))["block"]
    assert block.size <= 1.02 * made.size
    assert block.requests <= 11  # what is converted, and its scales, would be 28 alone
    brought = pairs.tensors_of(made.files()[SHARD])
    scaled = {name for name in made.block if f"{name}_scale_inv" in made.block}
    assert scaled
    assert brought.keys() == {name for name in made.block if not name.endswith("_scale_inv")}
    for name, data in brought.items():
        assert len(data) == len(made.block[name]) * (1 + (name in scaled))
        assert name in scaled or data == made.block[name]


def test_of_the_target_no_weights_are_read(hub: Hub, both: Pair, graft: Graft) -> None:
    regions = base_regions(both.target)
    graft(*PUSH)
    seen = traffic(hub, TARGET, regions)
    assert (seen["header"].requests, seen["slice"].requests, seen["block"].requests) == (4, 13, 0)


def test_a_dry_run_moves_no_byte_of_the_block(hub: Hub, both: Pair, graft: Graft) -> None:
    before = head(both.target)
    code, _, _ = graft(*PUSH, "--dry-run")
    assert code == 1
    assert traffic(hub, BASE, base_regions(both.base))["block"].requests == 0
    assert [method for method, *_ in hub.requests if method == "POST"] == []
    assert head(both.target) == before


# --- a commit ------------------------------------------------------------------------------


def test_a_push_is_one_commit_with_all_that_belongs_together(both: Pair, graft: Graft) -> None:
    before = head(both.target)
    code, out, _ = graft(*PUSH)
    assert code == 0
    new = changed(both, before)
    assert sorted(new) == ["config.json", MANIFEST, SHARD, INDEX]
    assert [message["parentCommit"] for message in both.target.messages] == [before]
    assert len(both.target.commits) == 2
    assert pairs.tensors_of(both.files()[SHARD]) == both.block
    index = json.loads(new[INDEX])
    assert {name for name, file in index["weight_map"].items() if file == SHARD} == set(both.block)
    old = json.loads(both.files(before)[INDEX].head)
    assert index["metadata"]["total_size"] == old["metadata"]["total_size"] + both.size
    manifest = json.loads(new[MANIFEST])
    assert manifest["base"] == {"kind": "hub", "name": BASE, "revision": head(both.base)}
    told = {name: entry["sha256"] for name, entry in manifest["tensors"].items()}
    assert told == {name: pairs.sha256(data) for name, data in both.block.items()}
    assert f"/{TARGET}/commit/{head(both.target)}" in out
    assert mtpfix.check(TARGET, vllm=["0.32.0"]).exit_code == 0


def test_the_description_says_what_came_from_where(both: Pair, graft: Graft) -> None:
    graft(*PUSH, "--commit-message", "Bring it back")
    message = both.target.messages[0]
    assert message["summary"] == "Bring it back"
    text = message["description"]
    assert f"`{BASE}` at `{head(both.base)}`" in text
    assert [name for name, data in both.block.items() if pairs.sha256(data) not in text] == []
    assert f"`mtpfix graft {TARGET} --from {BASE} --vllm 0.32.0 --platform cuda`" in text
    assert "changes none of the weights that were there" in text
    assert GOOD_TOKEN not in text


def test_a_second_run_changes_nothing(hub: Hub, both: Pair, graft: Graft) -> None:
    graft(*PUSH)
    after = head(both.target)
    code, out, _ = graft(*PUSH)
    assert (code, head(both.target)) == (0, after)
    assert "Nothing is to be written: the block is there." in out


def test_a_pull_request_holds_the_same(both: Pair, graft: Graft) -> None:
    before = head(both.target)
    code, out, _ = graft("--push-to-hub", "--create-pr", "--token", READ_TOKEN)
    assert code == 0
    assert head(both.target) == before
    assert sorted(changed(both, before, "refs/pr/1")) == ["config.json", MANIFEST, SHARD, INDEX]
    assert f"/{TARGET}/discussions/1" in out
    assert head(both.base) in both.target.prs[0]["description"]
    assert READ_TOKEN not in out


def test_the_document_says_where_it_went(both: Pair, graft: Graft) -> None:
    told = json.loads(graft(*PUSH, "--format", "json")[1])
    assert told["pushed"]["commit"] == head(both.target)
    assert {entry["name"] for entry in told["tensors"]} == set(both.block)
    assert all(entry["sha256"] for entry in told["tensors"])


@pytest.mark.parametrize("create_pr", [False, True])
def test_a_branch_that_moves_during_the_upload(
    hub: Hub, both: Pair, graft: Graft, create_pr: bool
) -> None:
    extra = ("--create-pr",) if create_pr else ()
    hub.faults["/lfs/org"] = [
        lambda _: both.target.commit(both.files() | {"new": sparse(b"")}) == ""
    ]
    code, out, err = graft(*PUSH, *extra)
    assert (code, out) == (4, "")
    assert err.startswith(f"error: {TARGET}: main moved since it was judged; nothing was pushed\n")
    assert (both.target.messages, both.target.prs) == ([], [])
    hub.requests.clear()
    assert graft(*PUSH, *extra)[0] == 0  # what was fetched is still there
    assert traffic(hub, BASE, base_regions(both.base))["block"].requests == 0


def test_without_permission_the_remedy_is_a_pull_request(both: Pair, graft: Graft) -> None:
    code, out, err = graft("--push-to-hub", "--token", READ_TOKEN)
    assert (code, out) == (2, "")
    assert "this login may not write to it; nothing was pushed" in err
    assert "hint: open a pull request instead: --create-pr" in err
    assert READ_TOKEN not in err
    assert both.target.messages == []


def test_a_folder_is_pushed_to_its_repo(both: Pair, graft: Graft, tmp_path: Path) -> None:
    before = head(both.target)
    folder = pairs.write(tmp_path / "quantized", both.files())
    old = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    code, _, _ = graft(*PUSH, "--repo-id", TARGET, target=str(folder))
    assert code == 0
    assert sorted(changed(both, before)) == ["config.json", MANIFEST, SHARD, INDEX]
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == old
    assert str(tmp_path) not in both.target.messages[0]["description"]


def test_a_repo_with_other_files_than_the_folder(both: Pair, graft: Graft, tmp_path: Path) -> None:
    folder = pairs.write(tmp_path / "quantized", both.files())
    config = both.files()["config.json"].head + b"\n"
    both.target.commit(both.files() | {"config.json": sparse(config)})
    code, _, err = graft(*PUSH, "--repo-id", TARGET, target=str(folder))
    assert code == 4
    assert "its config.json differs from that of the folder; nothing was pushed" in err
    assert "mtpfix graft" in err


def test_a_base_in_a_folder_tells_nobody_where_it_is(
    both: Pair, graft: Graft, tmp_path: Path
) -> None:
    files = both.base.commits[head(both.base)]
    folder = pairs.write(tmp_path / "base", files)
    assert graft(*PUSH, base=str(folder))[0] == 0
    pushed = both.target.messages[0]["description"].encode() + both.files()[MANIFEST].head
    assert str(tmp_path).encode() not in pushed


def test_the_library_does_the_same(both: Pair) -> None:
    at, base = Reference(TARGET, token=GOOD_TOKEN), Reference(BASE, token=GOOD_TOKEN)
    done = calls.bring_block(
        at,
        base,
        select(vllm=["0.32.0"], platforms=["cuda"]),
        Options(),
        precision="auto",
        delivery=to_hub.Hub(at),
    )
    assert done.pushed is not None
    assert done.pushed.commit == head(both.target)
    assert dict(done.hashes) == {name: pairs.sha256(data) for name, data in both.block.items()}


# --- progress ------------------------------------------------------------------------------


@pytest.mark.parametrize("terminal", [False, True])
def test_no_other_bar_of_progress_is_drawn(
    both: Pair,
    graft: Graft,
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
) -> None:
    import sys

    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: terminal, raising=False)
    _, _, err = graft(*PUSH)
    assert "it/s" not in err
    assert "%|" not in err
    assert bool(err) == terminal
    assert re.sub(r"\r\x1b\[K[^\r\x1b]*", "", err) == ""


# --- the Hub copies a file -----------------------------------------------------------------


@copying
def test_a_file_that_is_the_block_is_copied_by_the_hub(hub: Hub, graft: Graft) -> None:
    made = pairs.pair(hub, Shape(spread=0))
    before = head(made.target)
    code, _, _ = graft(*PUSH)
    assert code == 0
    assert traffic(hub, BASE, base_regions(made.base))["block"].requests == 0
    assert hub.received == 0
    assert sorted(changed(made, before)) == ["config.json", MANIFEST, SHARD, INDEX]
    assert made.files()[SHARD] == made.base.commits[head(made.base)][ALONE]
    assert mtpfix.check(TARGET, vllm=["0.32.0"]).exit_code == 0


@copying
@pytest.mark.parametrize("xet", [False, True])
def test_where_the_hub_refuses_the_copy_it_is_uploaded(hub: Hub, graft: Graft, xet: bool) -> None:
    made = pairs.pair(hub, Shape(spread=0))
    made.base.xet = xet
    hub.faults["/duplicate"] = [server.status(403)]
    code, _, _ = graft(*PUSH)
    assert code == 0
    assert traffic(hub, BASE, base_regions(made.base))["block"].size == made.size
    assert hub.received == made.files()[SHARD].size
    assert pairs.tensors_of(made.files()[SHARD]) == made.block
    assert len(made.target.messages) == 1


# --- another method, and a single file -------------------------------------------------------


@pytest.fixture(name="modelopt")
def _modelopt(hub: Hub, tmp_path: Path) -> Pair:
    """A GLM-5 in ModelOpt, in one file without an index, with both of its metadata files."""
    case = CASES / "glm5-nvfp4-missing-layer"
    repos = []
    for name, part in ((BASE, "grafted"), (TARGET, "as-published")):
        folder = materialise(case / part, tmp_path / part)
        repos.append(hub.repos.setdefault(name, Repo()))
        repos[-1].commit({path.name: sparse(path.read_bytes()) for path in folder.iterdir()})
    base, target = repos
    files = base.commits[head(base)]
    _, header = pairs.header_of(files[ALONE])
    mtp = {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}
    block = {name: pairs.data_of(name, *entry) for name, entry in mtp.items()}
    base.commit(files | {ALONE: pairs.shard(mtp, block)})
    return Pair(base, target, block)


def test_both_metadata_files_and_a_new_index(modelopt: Pair, graft: Graft) -> None:
    before = head(modelopt.target)
    assert graft(*PUSH)[0] == 0
    new = changed(modelopt, before)
    assert sorted(new) == ["config.json", "hf_quant_config.json", MANIFEST, SHARD, INDEX]
    shards = json.loads(new[INDEX])["weight_map"]
    assert set(shards.values()) == {"model.safetensors", SHARD}
    assert pairs.tensors_of(modelopt.files()[SHARD]) == modelopt.block
