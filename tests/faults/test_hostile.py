"""What a user sees of hostile checkpoints: a line and an exit code, as `docs/hostile.md` says."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.faults import hostile, peers, writers

PAGE = Path(__file__).parents[2] / "docs" / "hostile.md"


def table(text: str) -> dict[str, list[str]]:
    """The rows of a table, by their first cell, without its head."""
    lines = [line.strip("| ") for line in text.splitlines() if line.startswith("| ")]
    return {first: rest for first, *rest in (line.split(" | ") for line in lines[1:])}


READ, WRITTEN = map(table, PAGE.read_text(encoding="utf-8").split(peers.WRITING))
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
    assert [row[1], peers.cell(row[2])] == READ[peers.cell(about)][:2]


@pytest.mark.skipif(os.name == "nt", reason="a limit of POSIX")
@pytest.mark.parametrize("writer", ["mtpfix rewrite --write", "json.dump into open(…, 'w')"])
def test_what_a_write_that_ends_half_way_leaves(writer: str) -> None:
    assert list(writers.row(writer)[1:]) == WRITTEN[writer]


@pytest.mark.skipif(os.name == "nt", reason="a limit of POSIX")
def test_the_write_that_is_disturbed_would_work(tmp_path: Path) -> None:
    folder = writers.made(tmp_path)
    old = (folder.path / hostile.CONFIG).read_bytes()
    assert writers.run("mtpfix rewrite --write", folder.path) == 0
    assert (folder.path / hostile.CONFIG).read_bytes() != old


def test_the_page_has_all_of_them() -> None:
    assert list(READ) == [peers.cell(about) for about in hostile.CASES]
    assert list(WRITTEN) == list(writers.WRITERS)
