"""A short run of what `python -m tests.faults.renames` does at length."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
if hasattr(os, "fork"):
    from tests.faults import grafts, renames
    from tests.faults.renamed import ALONE, CONFIG, Renamed, Way
    from tests.faults.subject import BrokenPromiseError


@pytest.mark.parametrize("way", ["--rename-tensors", "--rename-in-place"])
def test_a_kill_tears_no_file_and_the_next_run_completes_it(tmp_path: Path, way: Way) -> None:
    left = grafts.kills(Renamed(tmp_path / "model", way), 5, 1, renames.PHASES)
    assert left.total() >= 5


@pytest.mark.parametrize("way", ["--rename-tensors", "--rename-in-place"])
def test_no_state_between_two_renames_is_left_for_good(tmp_path: Path, way: Way) -> None:
    left = renames.steps(Renamed(tmp_path / "model", way), ("replace",))
    assert left["old+"] > 0
    assert left["between+"] >= 2


def test_what_a_kill_may_not_leave_is_noticed(tmp_path: Path) -> None:
    subject = Renamed(tmp_path / "model", "--rename-in-place")
    file = subject.folder / ALONE
    file.write_bytes(subject.old[ALONE][:8] + b"x" + subject.old[ALONE][9:])
    with pytest.raises(BrokenPromiseError, match="no journal"):
        subject.state()
    (subject.folder / f".{ALONE}.mtpfix-header").touch()
    assert subject.state() == "torn+"
    file.write_bytes(subject.old[ALONE][:-1] + b"x")
    with pytest.raises(BrokenPromiseError, match="more than the header"):
        subject.state()
    subject.restore()
    (subject.folder / CONFIG).write_bytes(subject.new[CONFIG])
    with pytest.raises(BrokenPromiseError, match="another order"):
        subject.state()
