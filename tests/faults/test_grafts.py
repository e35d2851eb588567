"""A short run of what `python -m tests.faults.grafts` does at length."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
if hasattr(os, "fork"):
    from tests.faults import grafts
    from tests.faults.grafted import SHARD, Grafted
    from tests.faults.subject import BrokenPromiseError


@pytest.mark.parametrize("shards", [1, 3])
def test_a_kill_leaves_the_old_or_the_new_and_the_next_run_completes_it(
    tmp_path: Path, shards: int
) -> None:
    left = grafts.kills(Grafted(tmp_path, shards), 6, seed=shards)
    assert left.total() >= 6


def test_of_two_grafts_one_wins_and_nothing_is_torn(tmp_path: Path) -> None:
    assert grafts.pairs(Grafted(tmp_path), 2).total() == 2


@pytest.mark.parametrize("output", [False, True], ids=["in place", "output"])
def test_a_full_disk_leaves_the_old(tmp_path: Path, output: bool) -> None:
    left = grafts.full_disks(Grafted(tmp_path, 3), tmp_path / "new" if output else None)
    assert left.total() == 9


def test_what_a_kill_may_not_leave_is_noticed(tmp_path: Path) -> None:
    subject = Grafted(tmp_path, 3)
    (subject.folder / SHARD).write_bytes(subject.new[SHARD])
    assert subject.state() == "old+"
    (subject.folder / "config.json").write_bytes(subject.new["config.json"])
    with pytest.raises(BrokenPromiseError, match="backup"):
        subject.state()
    subject.restore()
    for name in set(subject.new) - {SHARD}:
        (subject.folder / name).write_bytes(subject.new[name])
    with pytest.raises(BrokenPromiseError, match="cannot be loaded"):
        subject.state()
    subject.restore()
    index = "model.safetensors.index.json"
    for name in (SHARD, index):
        (subject.folder / name).write_bytes(subject.new[name])
    with pytest.raises(BrokenPromiseError, match=r"config\.json is old"):
        subject.state()
