"""A short run of what `python -m tests.faults.load` does at length."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.faults.load import checked


@pytest.mark.skipif(sys.platform == "win32", reason="counts file descriptors")
def test_many_checkpoints_leave_nothing_open_and_no_memory_behind(tmp_path: Path) -> None:
    first, *_, last = checked(tmp_path, 60, 20)
    assert (last.files, last.threads) == (first.files, first.threads)
    assert last.memory - first.memory < 10
