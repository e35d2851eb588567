"""Large files go to the Hub with the metadata, in one commit, or nothing does."""

from __future__ import annotations

import logging
import time
import tracemalloc
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationCopy, constants
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

from mtpfix.errors import ConflictError, MtpfixError, TargetError, UsageError, WriteError
from mtpfix.repair import publish
from mtpfix.repair.publish import CopyError, CopySource, Goal, Published, can_copy
from tests.hub import server
from tests.hub.conftest import NAME
from tests.hub.server import GOOD_TOKEN, READ_TOKEN, Hub, Repo, Sparse, sparse

SHARD = "mtp.safetensors"
DATA = b"tensors of the block" * 1000
FILES = {"config.json": b"{}", "model.safetensors.index.json": b'{"weight_map": {}}'}
BASE = "org/base"
# httpx warns huggingface_hub, which hands it large files in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
copying = pytest.mark.skipif(not can_copy(), reason="huggingface_hub before 1.17")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the server speaks LFS only
    monkeypatch.setattr(time, "sleep", lambda _: None)  # huggingface_hub waits by itself
    disable_progress_bars()
    yield
    enable_progress_bars()


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    path = tmp_path / "shard"
    path.write_bytes(DATA)
    return path


@pytest.fixture(name="base")
def _base(hub: Hub) -> Repo:
    base = hub.repos[BASE] = Repo()
    base.commit({"layers.safetensors": sparse(DATA), "config.json": sparse(b"{}")})
    return base


def goal(repo: Repo, token: str = GOOD_TOKEN, **how: object) -> Goal:
    return Goal(NAME, repo.branches["main"], token=token, **how)  # type: ignore[arg-type]


def source(base: Repo, path: str = "layers.safetensors") -> CopySource:
    return CopySource(BASE, path, base.branches["main"])


def files(repo: Repo, revision: str = "main") -> dict[str, Sparse]:
    return repo.commits[str(repo.resolve(revision))]


def uploaded(to: Goal, file: Path) -> Published:
    return publish.publish(to, FILES, uploads={SHARD: file})


def copied(to: Goal, of: CopySource) -> Published:
    return publish.publish(to, FILES, copies={SHARD: of})


def assert_nothing_pushed(repo: Repo, error: MtpfixError) -> None:
    assert len(repo.messages) == 0
    assert SHARD not in files(repo)
    assert error.message.endswith("nothing was pushed")
    assert error.remedy
    said = error.message + error.remedy
    assert not [secret for secret in (GOOD_TOKEN, READ_TOKEN, "secret") if secret in said]


# --- uploads ---------------------------------------------------------------------------


def test_metadata_and_a_large_file_are_one_commit(hub: Hub, repo: Repo, file: Path) -> None:
    before = files(repo)
    done = uploaded(goal(repo), file)
    assert done.commit == repo.branches["main"]
    assert len(repo.messages) == 1
    assert repo.messages[0]["parentCommit"] in repo.commits
    new = {name: data for name, data in files(repo).items() if before.get(name) != data}
    assert {name: data.head for name, data in new.items()} == {**FILES, SHARD: DATA}
    assert hub.received == len(DATA)
    assert any(path.endswith("/verify") for _, path, _ in hub.requests)


def test_a_pull_request_holds_both(repo: Repo, file: Path) -> None:
    before = files(repo)
    done = uploaded(goal(repo, READ_TOKEN, create_pr=True), file)
    assert done.url.endswith(f"/{NAME}/discussions/1")
    assert files(repo) == before
    assert files(repo, "refs/pr/1")[SHARD].head == DATA
    assert files(repo, "refs/pr/1")["config.json"].head == b"{}"


def test_what_is_there_is_not_sent_again(hub: Hub, repo: Repo, file: Path) -> None:
    found = sparse(DATA)
    repo.objects[found.sha256()] = found
    uploaded(goal(repo), file)
    assert hub.received == 0
    assert files(repo)[SHARD].head == DATA


def test_an_upload_takes_little_memory(hub: Hub, repo: Repo, tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(200_000_000)
    tracemalloc.start()
    try:
        uploaded(goal(repo), tmp_path / "huge")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert hub.received == files(repo)[SHARD].size == 200_000_000


@pytest.mark.parametrize(
    ("place", "status"),
    [("/lfs/org", 500), ("/lfs/org", 403), ("/verify", 503), ("/batch", 503), ("/preupload/", 502)],
)
def test_an_upload_that_is_refused(
    hub: Hub, repo: Repo, file: Path, place: str, status: int
) -> None:
    hub.faults[place] = [server.status(status)] * 20
    with pytest.raises(WriteError, match=rf"upload broke off \(HTTP {status}\)") as caught:
        uploaded(goal(repo), file)
    assert_nothing_pushed(repo, caught.value)


@pytest.mark.parametrize("place", ["/lfs/org", "/verify", "/batch", "/preupload/"])
def test_an_upload_that_breaks_off(hub: Hub, repo: Repo, file: Path, place: str) -> None:
    hub.faults[place] = [server.reset] * 20
    with pytest.raises(WriteError, match=r"upload broke off \(\w+Error\)") as caught:
        uploaded(goal(repo), file)
    assert_nothing_pushed(repo, caught.value)


def test_an_upload_that_breaks_off_once_is_sent_again(hub: Hub, repo: Repo, file: Path) -> None:
    hub.faults["/lfs/org"] = [server.status(503), server.status(500)]
    uploaded(goal(repo), file)
    assert files(repo)[SHARD].head == DATA


def test_without_permission_nothing_is_sent(hub: Hub, repo: Repo, file: Path) -> None:
    with pytest.raises(WriteError, match="may not write") as caught:
        uploaded(goal(repo, READ_TOKEN), file)
    assert_nothing_pushed(repo, caught.value)
    assert hub.received == 0
    assert "--create-pr" in caught.value.remedy


@pytest.mark.parametrize("create_pr", [False, True])
def test_a_branch_that_moves_during_the_upload(
    hub: Hub, repo: Repo, file: Path, create_pr: bool
) -> None:
    to = goal(repo, create_pr=create_pr)
    hub.faults["/lfs/org"] = [lambda _: repo.commit(files(repo) | {"new": sparse(b"")}) == ""]
    with pytest.raises(ConflictError) as caught:
        uploaded(to, file)
    assert_nothing_pushed(repo, caught.value)
    assert repo.prs == []


def test_a_file_that_the_repo_ignores(repo: Repo, file: Path) -> None:
    repo.ignored = (SHARD,)
    with pytest.raises(WriteError, match=r"its \.gitignore keeps mtp\.safetensors out") as caught:
        uploaded(goal(repo), file)
    assert_nothing_pushed(repo, caught.value)


def test_a_file_that_is_gone(repo: Repo, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="cannot be read"):
        uploaded(goal(repo), tmp_path / "none")
    assert repo.messages == []


def test_a_commit_that_gets_no_answer_may_have_been_made(hub: Hub, repo: Repo, file: Path) -> None:
    hub.faults["/commit/"] = [server.reset] * 9
    with pytest.raises(WriteError, match="failed while it took the commit") as caught:
        uploaded(goal(repo), file)
    assert "look whether it is there" in caught.value.remedy


def test_no_address_is_logged(hub: Hub, repo: Repo, file: Path) -> None:
    logger, lines = logging.getLogger("huggingface_hub"), list[str]()
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        level = logger.level
        hub.faults["/lfs/org"] = [server.status(500)] * 20
        with pytest.raises(WriteError):
            uploaded(goal(repo), file)
        assert logger.level == level
    finally:
        logger.removeHandler(handler)
    assert lines == []


# --- copies ----------------------------------------------------------------------------


@copying
def test_a_copy_moves_no_byte(hub: Hub, repo: Repo, base: Repo) -> None:
    done = copied(goal(repo), source(base))
    assert done.commit == repo.branches["main"]
    assert files(repo)[SHARD].head == DATA
    assert files(repo)["config.json"].head == b"{}"
    assert len(repo.messages) == 1
    assert hub.received == hub.fetched(".safetensors") == 0
    asked = [path for method, path, _ in hub.requests if path.endswith("/duplicate")]
    assert asked == [f"/api/models/{BASE}/lfs-files/duplicate"]


@copying
def test_a_copy_in_a_pull_request(repo: Repo, base: Repo) -> None:
    copied(goal(repo, create_pr=True), source(base))
    assert files(repo, "refs/pr/1")[SHARD].head == DATA


@copying
def test_a_copy_is_of_the_commit_that_was_judged(repo: Repo, base: Repo) -> None:
    judged = source(base)
    base.commit({"layers.safetensors": sparse(b"other")})
    copied(goal(repo), judged)
    assert files(repo)[SHARD].head == DATA


@copying
def test_a_copy_beside_an_upload(repo: Repo, base: Repo, file: Path) -> None:
    publish.publish(
        goal(repo), FILES, uploads={"a.safetensors": file}, copies={SHARD: source(base)}
    )
    assert {"a.safetensors", SHARD, *FILES} <= files(repo).keys()
    assert len(repo.messages) == 1


@copying
def test_outside_of_xet_there_is_no_copy(repo: Repo, base: Repo) -> None:
    base.xet = False
    with pytest.raises(CopyError, match="not in Xet storage") as caught:
        copied(goal(repo), source(base))
    assert_nothing_pushed(repo, caught.value)


@copying
def test_a_small_file_is_no_copy(repo: Repo, base: Repo) -> None:
    with pytest.raises(CopyError, match="not in Xet storage"):
        copied(goal(repo), source(base, "config.json"))


@copying
@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 500])
def test_the_hub_may_refuse_a_copy(hub: Hub, repo: Repo, base: Repo, status: int) -> None:
    hub.faults["/duplicate"] = [server.status(status)]
    with pytest.raises(CopyError, match=rf"does not copy .* \(HTTP {status}\)") as caught:
        copied(goal(repo), source(base))
    assert_nothing_pushed(repo, caught.value)


@copying
def test_the_hub_may_fail_to_copy_one_file(hub: Hub, repo: Repo, base: Repo) -> None:
    def fault(handler: server._Handler) -> bool:
        handler.json({"success": [], "failed": [{"sha256": "0", "error": GOOD_TOKEN}]})
        return True

    hub.faults["/duplicate"] = [fault]
    with pytest.raises(CopyError, match="does not copy between these repos") as caught:
        copied(goal(repo), source(base))
    assert_nothing_pushed(repo, caught.value)


@copying
def test_without_permission_there_is_no_copy(repo: Repo, base: Repo) -> None:
    with pytest.raises(CopyError, match="HTTP 403") as caught:
        copied(goal(repo, READ_TOKEN, create_pr=True), source(base))
    assert_nothing_pushed(repo, caught.value)


@copying
def test_a_source_that_is_gated(hub: Hub, repo: Repo, base: Repo) -> None:
    of = source(base)
    hub.faults["/paths-info/"] = [server.status(401, X_Error_Code="GatedRepo")]
    with pytest.raises(TargetError, match=f"^{BASE}: .*gated"):
        copied(goal(repo), of)
    assert repo.messages == []


@copying
def test_a_source_that_is_gone(hub: Hub, repo: Repo, base: Repo) -> None:
    of = source(base)
    del hub.repos[BASE]
    with pytest.raises(TargetError, match=f"^{BASE}: .*no such repo"):
        copied(goal(repo), of)


@copying
def test_a_source_without_the_file(repo: Repo, base: Repo) -> None:
    with pytest.raises(TargetError, match=f"^{BASE}: none.safetensors: not in the repo"):
        copied(goal(repo), source(base, "none.safetensors"))


@copying
def test_a_branch_that_moves_during_the_copy(hub: Hub, repo: Repo, base: Repo) -> None:
    hub.faults["/duplicate"] = [lambda _: repo.commit(files(repo) | {"n": sparse(b"")}) == ""]
    with pytest.raises(ConflictError) as caught:
        copied(goal(repo), source(base))
    assert_nothing_pushed(repo, caught.value)


def test_an_older_client_says_that_it_cannot_copy(
    repo: Repo, base: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert can_copy() == ("src_repo_id" in CommitOperationCopy.__dataclass_fields__)
    monkeypatch.setattr(publish, "can_copy", lambda: False)
    with pytest.raises(CopyError, match="does not copy between repos") as caught:
        copied(goal(repo), source(base))
    assert "1.17" in caught.value.remedy
    assert_nothing_pushed(repo, caught.value)


def test_a_branch_with_an_impossible_name_is_told(repo: Repo, file: Path) -> None:
    with pytest.raises((UsageError, TargetError)):
        uploaded(goal(repo, branch="no such branch"), file)
