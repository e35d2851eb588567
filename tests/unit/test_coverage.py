"""The table of what is covered tells the truth about the recordings, and the docs show it."""

from __future__ import annotations

from pathlib import Path

from mtpfix.engines.vllm.coverage import coverage
from mtpfix.engines.vllm.engine import ENGINE
from mtpfix.report import dialects as dialects_page
from mtpfix.report import families
from tools import evidence

ROOT = Path(__file__).parents[2]


def test_what_is_said_to_be_recorded_and_proved_is() -> None:
    assert evidence.FILE.read_text(encoding="utf-8") == evidence.document()


def test_other_platforms_are_never_graded_run() -> None:
    grades = {c.grade for f in coverage() for c in f.cells if c.platform != "cuda"}
    assert "run" not in grades


def test_the_pages_of_the_docs_are_up_to_date() -> None:
    pages = {
        "families": families.markdown(ENGINE),
        "dialects": dialects_page.markdown(ENGINE),
    }
    for name, page in pages.items():
        assert (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") == page
