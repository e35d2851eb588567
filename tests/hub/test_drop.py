"""Where the block is not to be had: the declaration goes out of the repo, as one commit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mtpfix
from mtpfix import calls
from mtpfix.cli import main
from mtpfix.delivery import hub as to_hub
from mtpfix.delivery.folder import Folder
from mtpfix.selection import select
from mtpfix.targets import Reference
from tests.hub import pairs
from tests.hub.conftest import ONE
from tests.hub.pairs import TARGET, Pair, Shape
from tests.hub.repos import sparse
from tests.hub.server import GOOD_TOKEN, READ_TOKEN, Hub

PUSH = ("--push-to-hub", "--token", GOOD_TOKEN)
Said = tuple[int, str, str]


def dropped(capsys: pytest.CaptureFixture[str], *arguments: str, target: str = TARGET) -> Said:
    code = main(["graft", target, "--drop", *ONE, *arguments])
    out, err = capsys.readouterr()
    assert not [token for token in (GOOD_TOKEN, READ_TOKEN) if token in out + err]
    return code, out, err


def declared(made: Pair, revision: str = "main") -> object:
    return json.loads(made.files(revision)["config.json"].head)["num_nextn_predict_layers"]


def test_the_plan_changes_nothing(hub: Hub, both: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = dropped(capsys)
    assert code == 1
    assert '-  "num_nextn_predict_layers": 1,\n+  "num_nextn_predict_layers": 0,' in out
    assert "Nothing was pushed. --push-to-hub commits" in err
    assert [method for method, *_ in hub.requests if method == "POST"] == []


def test_config_alone_is_committed(both: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    before = both.target.branches["main"]
    code, _, err = dropped(capsys, *PUSH)
    assert code == 0
    old, new = both.files(before), both.files()
    assert {name for name in new if new[name] != old.get(name)} == {"config.json"}
    assert declared(both) == 0
    message = both.target.messages[0]
    assert message["parentCommit"] == before
    assert message["summary"] == "Declare no MTP block: its weights are not here"
    assert f"`mtpfix graft {TARGET} --drop --vllm 0.32.0 --platform cuda`" in message["description"]
    assert "`config.json`" in message["description"]
    assert f"Pushed config.json to {TARGET}:" in err
    assert mtpfix.check(TARGET, vllm=["0.32.0"]).exit_code == 0


def test_a_pull_request(both: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    before = both.target.branches["main"]
    code, _, err = dropped(capsys, "--push-to-hub", "--create-pr", "--token", READ_TOKEN)
    assert code == 0
    assert both.target.branches["main"] == before
    assert (declared(both), declared(both, "refs/pr/1")) == (1, 0)
    assert f"/{TARGET}/discussions/1" in err
    assert "0.32.0 on cuda" in both.target.prs[0]["description"]


def test_a_dry_run_commits_nothing(
    hub: Hub, both: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = dropped(capsys, *PUSH, "--dry-run")
    assert code == 1
    assert f"This was a dry run: config.json would go to {TARGET} (main)." in err
    assert [method for method, *_ in hub.requests if method == "POST"] == []


def test_a_second_run_changes_nothing(both: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    dropped(capsys, *PUSH)
    after = both.target.branches["main"]
    code, out, _ = dropped(capsys, *PUSH)
    assert (code, out, both.target.branches["main"]) == (0, "", after)


def test_a_branch_that_moves(hub: Hub, both: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    hub.faults["/preupload/"] = [
        lambda _: both.target.commit(both.files() | {"new": sparse(b"")}) == ""
    ]
    code, out, err = dropped(capsys, *PUSH)
    assert (code, out) == (4, "")
    assert "main moved since it was judged; nothing was pushed" in err
    assert declared(both) == 1


def test_without_permission(both: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = dropped(capsys, "--push-to-hub", "--token", READ_TOKEN)
    assert (code, out) == (2, "")
    assert "may not write to it; nothing was pushed\nhint: open a pull request" in err


def test_a_folder_and_its_repo(
    both: Pair, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = pairs.write(tmp_path / "quantized", both.files())
    assert dropped(capsys, *PUSH, "--repo-id", TARGET, target=str(folder))[0] == 0
    assert declared(both) == 0
    assert json.loads((folder / "config.json").read_bytes())["num_nextn_predict_layers"] == 1
    assert str(tmp_path) not in both.target.messages[0]["description"]


def test_a_repo_with_another_config(
    both: Pair, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = pairs.write(tmp_path / "quantized", both.files())
    config = pairs.config_of(Shape()) | {"another": 1}
    both.target.commit(both.files() | {"config.json": pairs.document(config)})
    code, _, err = dropped(capsys, *PUSH, "--repo-id", TARGET, target=str(folder))
    assert code == 4
    assert f"mtpfix graft --drop {TARGET} --push-to-hub" in err


def test_the_document(both: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(dropped(capsys, *PUSH, "--format", "json")[1])
    assert told["pushed"]["commit"] == both.target.branches["main"]


def test_the_library_does_the_same(both: Pair) -> None:
    at = Reference(TARGET, token=GOOD_TOKEN)
    selection = select(vllm=["0.32.0"], platforms=["cuda"])
    done = calls.drop(at, selection, to_hub.Hub(at, message="Out"))
    assert done.pushed is not None
    assert done.pushed.commit == both.target.branches["main"]
    assert (done.exit_code, both.target.messages[0]["summary"]) == (0, "Out")


def test_the_library_writes_no_repo(both: Pair) -> None:
    with pytest.raises(mtpfix.UsageError, match="this is a Hub repo, not a folder"):
        calls.drop(Reference(TARGET), select(vllm=["0.32.0"]), Folder())
