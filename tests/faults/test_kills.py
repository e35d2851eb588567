"""A short run of what `python -m tests.faults.kills` does at length."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults import kills
from tests.faults.subject import BrokenPromiseError, Subject

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.mark.parametrize("files", [1, 2])
def test_a_kill_leaves_whole_files_and_the_next_run_puts_all_right(tmp_path: Path, files: int):
    left = kills.kills(Subject(tmp_path / "model", files), 12, seed=files)
    assert left.total() >= 12


def test_of_two_writers_one_wins_and_the_other_exits_4(tmp_path: Path):
    assert kills.pairs(Subject(tmp_path / "model"), 3) == {(0, 4): 3}


def test_what_a_kill_may_not_leave_is_noticed(tmp_path: Path):
    subject = Subject(tmp_path / "model")
    (subject.folder / "config.json").write_bytes(subject.old["config.json"][:-1])
    with pytest.raises(BrokenPromiseError, match="neither old nor new"):
        subject.state()
    subject.restore()
    (subject.folder / "config.json").write_bytes(subject.new["config.json"])
    with pytest.raises(BrokenPromiseError, match="backup"):
        subject.state()
    subject.restore()
    assert subject.state() == "old"
    (subject.folder / ".mtpfix.lock").touch()
    assert subject.state() == "old+"
