"""A repair goes to the Hub as one commit on top of what was judged, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mtpfix
from mtpfix.cli import main
from mtpfix.delivery import Pushed
from mtpfix.errors import ConflictError, MtpfixError, RefusedError, UsageError, WriteError
from tests.hub import server
from tests.hub.conftest import NAME, SAMPLE
from tests.hub.server import GOOD_TOKEN, READ_TOKEN, Hub, Repo, sparse

RELEASE = ("0.32.0",)
ENTRY = r"re:^model\.layers\.43\..*"


def pushed(target: str = NAME, token: str = GOOD_TOKEN, **how: Any) -> Pushed:
    done = mtpfix.push(target, vllm=RELEASE, platforms=("cuda",), token=token, **how).pushed
    assert done is not None
    return done


def refused(*arguments: str, **how: object) -> MtpfixError:
    with pytest.raises(MtpfixError) as caught:
        pushed(*arguments, **how)
    return caught.value


def ignored(repo: Repo, revision: str = "main") -> list[str]:
    commit = repo.resolve(revision)
    assert commit is not None
    config = json.loads(repo.commits[commit]["config.json"].head)
    entries: list[str] = config["quantization_config"]["ignore"]
    return entries


def test_the_metadata_alone_is_committed(repo: Repo) -> None:
    old = dict(repo.commits[repo.branches["main"]])
    done = pushed()
    new = repo.commits[repo.branches["main"]]
    assert done.commit == repo.branches["main"]
    assert done.url.endswith(f"/{NAME}/commit/{done.commit}")
    assert ENTRY in ignored(repo)
    assert {name for name in new if new[name] != old[name]} == {"config.json"}
    assert mtpfix.check(NAME, vllm=RELEASE).exit_code == 0


def test_a_second_push_has_nothing_to_do(repo: Repo) -> None:
    pushed()
    head = repo.branches["main"]
    again = pushed()
    assert (again.commit, repo.branches["main"]) == ("", head)


def test_a_pull_request_leaves_the_branch_alone(repo: Repo) -> None:
    head = repo.branches["main"]
    done = pushed(token=READ_TOKEN, create_pr=True, message="Mend it", describe=lambda _: "How.")
    assert done.url.endswith(f"/{NAME}/discussions/1")
    assert repo.branches["main"] == head
    assert (repo.prs[0]["summary"], repo.prs[0]["description"]) == ("Mend it", "How.")
    assert ENTRY in ignored(repo, "refs/pr/1")


def test_another_branch(repo: Repo) -> None:
    head = repo.branches["next"] = repo.branches["main"]
    assert pushed(revision="next").branch == "next"
    assert repo.branches["main"] == head
    assert ENTRY in ignored(repo, "next")


def test_a_dry_run_commits_nothing(hub: Hub, repo: Repo) -> None:
    head = repo.branches["main"]
    done = pushed(dry_run=True)
    assert (done.commit, done.branch, repo.branches["main"]) == ("", "main", head)
    assert [method for method, *_ in hub.requests if method == "POST"] == []


@pytest.mark.parametrize("create_pr", [False, True])
def test_a_branch_that_moved_is_a_conflict(hub: Hub, repo: Repo, create_pr: bool) -> None:
    files = repo.commits[repo.branches["main"]]
    moves = [lambda _: False, lambda _: repo.commit(files | {"new": sparse(b"")}) == ""]
    hub.faults[f"/api/models/{NAME}/revision"] = []
    hub.faults["/model-00002"] = moves[1:]  # after the commit was resolved
    error = refused(create_pr=create_pr)
    assert isinstance(error, ConflictError)
    assert error.exit_code == 4
    assert error.message == f"{NAME}: main moved since it was judged; nothing was pushed"
    assert ENTRY not in ignored(repo)
    assert repo.prs == []


def test_a_branch_that_moves_at_the_last_moment_is_a_conflict(hub: Hub, repo: Repo) -> None:
    files = repo.commits[repo.branches["main"]]
    hub.faults["/preupload/"] = [lambda _: repo.commit(files | {"new": sparse(b"")}) == ""]
    assert isinstance(refused(), ConflictError)
    assert ENTRY not in ignored(repo)


def test_a_commit_that_is_no_longer_the_head_is_a_conflict(repo: Repo) -> None:
    old = repo.branches["main"]
    repo.commit(repo.commits[old] | {"new": sparse(b"")})
    assert isinstance(refused(revision=old), ConflictError)


def test_without_permission_the_remedy_is_a_pull_request(repo: Repo) -> None:
    error = refused(token=READ_TOKEN)
    assert isinstance(error, WriteError)
    assert "--create-pr" in error.remedy
    assert ENTRY not in ignored(repo)


def test_pull_requests_may_be_forbidden_too(hub: Hub, repo: Repo) -> None:
    hub.faults["/preupload/"] = [server.status(403)]
    error = refused(create_pr=True)
    assert "may not open a pull request" in error.message


def test_a_server_that_fails_may_have_written(hub: Hub, repo: Repo, waits: list[float]) -> None:
    hub.faults["/commit/"] = [server.status(500)] * 9
    error = refused()
    assert "HTTP 500" in error.message
    assert "look whether it is there" in error.remedy


# --- a folder ------------------------------------------------------------------------


def test_a_folder_is_pushed_to_its_repo(repo: Repo) -> None:
    assert pushed(str(SAMPLE), repo_id=NAME).commit == repo.branches["main"]
    assert ENTRY in ignored(repo)


def test_a_folder_needs_the_name_of_a_repo(repo: Repo) -> None:
    error = refused(str(SAMPLE))
    assert isinstance(error, UsageError)
    assert "--repo-id" in error.remedy


def test_a_repo_is_pushed_to_itself_alone(repo: Repo) -> None:
    assert isinstance(refused(repo_id="org/other"), UsageError)


def test_a_repo_with_another_file_is_not_overwritten(repo: Repo) -> None:
    files = repo.commits[repo.branches["main"]]
    repo.commit(files | {"config.json": sparse(files["config.json"].head + b"\n")})
    error = refused(str(SAMPLE), repo_id=NAME)
    assert isinstance(error, ConflictError)
    assert "differs from that of the folder" in error.message


# --- what is not clean ------------------------------------------------------------------


def without_mtp(repo: Repo) -> None:
    """Takes the tensors of the MTP block away: no metadata brings them back."""
    files = dict(repo.commits[repo.branches["main"]])
    index = json.loads(files["model.safetensors.index.json"].head)
    index["weight_map"] = {
        name: shard for name, shard in index["weight_map"].items() if not name.startswith("mtp.")
    }
    files["model.safetensors.index.json"] = sparse(json.dumps(index).encode())
    del files["model-00002-of-00002.safetensors"]  # else rewrite names it again
    repo.commit(files)


@pytest.mark.parametrize("allow_partial", [False, True])
def test_what_stays_wrong_is_not_pushed(repo: Repo, allow_partial: bool) -> None:
    without_mtp(repo)
    head = repo.branches["main"]
    error = refused(allow_partial=allow_partial)
    assert isinstance(error, RefusedError)
    assert "nothing was pushed" in error.message
    assert repo.branches["main"] == head


def test_older_releases_do_not_keep_a_repair_from_the_hub(repo: Repo) -> None:
    done = mtpfix.push(NAME, token=GOOD_TOKEN).pushed
    assert done is not None
    assert done.commit == repo.branches["main"]
    assert ENTRY in ignored(repo)


def test_a_repair_that_is_partly_right_is_pushed_with_leave_alone(repo: Repo) -> None:
    head = repo.branches["main"]
    with pytest.raises(
        RefusedError, match=r"does not fix everything \(MTP301\); nothing was pushed"
    ) as e:
        mtpfix.push(NAME, vllm=[">=0.29"], platforms=["cuda"], token=GOOD_TOKEN)
    assert "--allow-partial" in e.value.remedy
    assert e.value.repair.checked.exit_code == 1
    assert repo.branches["main"] == head
    chosen: dict[str, Any] = {"vllm": [">=0.29"], "platforms": ["cuda"], "token": GOOD_TOKEN}
    done = mtpfix.push(NAME, **chosen, allow_partial=True).pushed
    assert done is not None
    assert done.commit == repo.branches["main"]


def test_what_helps_no_release_is_not_pushed_whatever_is_allowed(repo: Repo) -> None:
    with pytest.raises(RefusedError, match="as broken as the source"):
        mtpfix.push(NAME, vllm=["0.29"], platforms=["cuda"], token=GOOD_TOKEN, allow_partial=True)
    assert ENTRY not in ignored(repo)


# --- the command -------------------------------------------------------------------------


def command(*arguments: str) -> int:
    return main(["rewrite", NAME, "--vllm", "0.32.0", "--platform", "cuda", *arguments])


def test_the_command_says_where_it_went(repo: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--push-to-hub", "--token", GOOD_TOKEN) == 0
    out, err = capsys.readouterr()
    assert ENTRY.replace("\\", "\\\\") in out
    assert f"Pushed config.json to {NAME}:" in err
    assert GOOD_TOKEN not in out + err


def test_the_text_of_a_pull_request(repo: Repo) -> None:
    assert command("--push-to-hub", "--create-pr", "--token", READ_TOKEN) == 0
    text = repo.prs[0]["description"]
    assert f"Added: `{ENTRY}`" in text
    assert "changes no weight" in text
    assert f"`mtpfix rewrite {NAME} --vllm 0.32.0 --platform cuda`" in text


def test_the_document_for_programs(repo: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--push-to-hub", "--token", GOOD_TOKEN, "--format", "json") == 0
    told = json.loads(capsys.readouterr().out)["pushed"]
    assert told["repo"] == NAME
    assert told["commit"] == repo.branches["main"]


def test_by_default_nothing_is_pushed(repo: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    assert command() == 1
    assert "Nothing was pushed. --push-to-hub commits" in capsys.readouterr().err
    assert ENTRY not in ignored(repo)


def test_a_dry_run_says_what_it_would_do(repo: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--push-to-hub", "--dry-run", "--token", GOOD_TOKEN) == 1
    assert f"This was a dry run: config.json would go to {NAME} (main)." in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--push-to-hub", "--write"),
        ("--push-to-hub", "--output", "new"),
        ("--create-pr",),
        ("--dry-run",),
        ("--repo-id", NAME),
        ("--write",),
        ("--output", "new"),
    ],
)
def test_what_makes_no_sense(
    repo: Repo, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "\nhint: " in err


# --- the index -------------------------------------------------------------------

INDEX = "model.safetensors.index.json"


def test_an_index_that_lost_the_block_is_committed_with_the_entries(repo: Repo, hub: Hub) -> None:
    old = dict(repo.commits[repo.branches["main"]])
    document = json.loads(old[INDEX].head)
    shards = document["weight_map"]
    rest = {name: shard for name, shard in shards.items() if not name.startswith("mtp.")}
    document["weight_map"] = rest
    repo.commit({**old, INDEX: sparse(json.dumps(document, indent=2).encode())})
    assert mtpfix.check(NAME, vllm=RELEASE).engines[0].outcome != "clean"
    hub.requests.clear()
    done = pushed()
    new = repo.commits[repo.branches["main"]]
    assert done.commit == repo.branches["main"]
    assert {name for name in new if new[name] != old[name]} == {"config.json", INDEX}
    assert json.loads(new[INDEX].head)["weight_map"] == shards
    assert ENTRY in ignored(repo)
    asked = [path for method, path, *_ in hub.requests if method == "GET" and INDEX in path]
    assert len(asked) == 1  # the metadata is not fetched twice
    assert mtpfix.check(NAME, vllm=RELEASE).exit_code == 0
