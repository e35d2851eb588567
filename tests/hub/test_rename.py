"""Other names for scales go to the Hub: the new weight file, the index, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mtpfix
from mtpfix import Options
from mtpfix.delivery import Pushed
from mtpfix.errors import ConflictError, RefusedError, UsageError
from tests.hub.server import GOOD_TOKEN, Hub, Repo, sparse
from tests.unit.test_renaming import ALONE, CHOSEN, INDEX, checkpoint, content, tensors

NAME = "org/scales"
pytestmark = [
    pytest.mark.usefixtures("uploads"),
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]


def kept(hub: Hub, folder: Path) -> Repo:
    repo = hub.repos[NAME] = Repo()
    repo.commit({name: sparse(data) for name, data in content(folder).items()})
    return repo


def pushed(target: str | Path, options: Options | None = None, **how: Any) -> Pushed:
    options = options or Options(rename_tensors=True)
    done = mtpfix.push(target, **CHOSEN, options=options, token=GOOD_TOKEN, **how).pushed
    assert done is not None
    return done


def files(repo: Repo) -> dict[str, bytes]:
    found = repo.commits[repo.branches["main"]]
    return {name: b"".join(file.cut(0, file.size)) for name, file in found.items()}


@pytest.mark.parametrize("local", [False, True], ids=["repo", "folder"])
def test_the_new_file_and_the_index_are_one_commit(hub: Hub, tmp_path: Path, local: bool) -> None:
    folder = checkpoint(tmp_path)
    repo, old = kept(hub, folder), content(folder)
    done = pushed(folder, repo_id=NAME) if local else pushed(NAME)
    assert done.commit == repo.branches["main"]
    new = files(repo)
    assert {name for name in new if new[name] != old.get(name)} == {ALONE, INDEX}
    assert len(repo.commits) == 2
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, data in new.items():
        (copy / name).write_bytes(data)
    assert tensors(copy) == tensors(folder)
    assert not any(name.endswith("_inv") for name in json.loads(new[INDEX])["weight_map"])
    assert mtpfix.check(NAME, **CHOSEN).exit_code == 0
    assert content(folder) == old
    assert list((tmp_path / "home" / "mtpfix").iterdir()) == []


def test_a_dry_run_moves_no_weights(hub: Hub, tmp_path: Path) -> None:
    repo = kept(hub, checkpoint(tmp_path))
    before = repo.branches["main"]
    assert pushed(NAME, dry_run=True).branch == "main"
    assert repo.branches["main"] == before
    assert hub.received == 0


def test_a_file_of_both_models_stays(hub: Hub, tmp_path: Path) -> None:
    repo = kept(hub, checkpoint(tmp_path, shards=1))
    before = repo.branches["main"]
    with pytest.raises(RefusedError, match="of the target model, too"):
        pushed(NAME)
    with pytest.raises(UsageError, match="of this machine"):
        pushed(NAME, Options(rename_in_place=True))
    assert repo.branches["main"] == before


def test_a_repo_with_other_weights_than_the_folder_is_left_alone(hub: Hub, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path)
    repo = kept(hub, folder)
    changed = content(folder)[ALONE].replace(b'"F32"', b'"I32"')
    repo.commit({**{n: sparse(d) for n, d in content(folder).items()}, ALONE: sparse(changed)})
    before = repo.branches["main"]
    with pytest.raises(ConflictError, match=ALONE):
        pushed(folder, repo_id=NAME)
    assert repo.branches["main"] == before
