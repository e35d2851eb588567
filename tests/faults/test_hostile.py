"""What a user sees of hostile checkpoints: a line and an exit code, as `docs/hostile.md` says."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.faults import hostile, peers

PAGE = Path(__file__).parents[2] / "docs" / "hostile.md"
ROWS = {
    cells[1]: (cells[2], cells[3])
    for cells in (line.split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines())
    if len(cells) > 3
    for cells in [[cells[0].removeprefix("| ")] * 2 + cells[1:]]
}
SECONDS = 60
"""No input may keep us longer, even on a machine that is busy."""


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
@pytest.mark.parametrize("about", hostile.CASES)
def test_hostile_input_is_told_in_one_line(about: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    begin = time.monotonic()
    row = peers.row(hostile.CASES[about], peers=False)
    assert time.monotonic() - begin < SECONDS
    assert row[1] in {"1", "2", "3", "4"}
    assert row[2].isprintable()
    assert "internal error" not in row[2]
    assert (row[1], peers.cell(row[2])) == ROWS[peers.cell(about)]


def test_the_page_has_all_of_them() -> None:
    assert len(ROWS) == len(hostile.CASES) + 1  # and the head
