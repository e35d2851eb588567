"""The table of what is covered tells the truth about the recordings, and the docs show it."""

from __future__ import annotations

from pathlib import Path

from mtpfix.coverage import coverage
from mtpfix.engines.vllm import policy
from mtpfix.report.families import markdown
from tools import tiny
from tools.recording import family_of, files, read

ROOT = Path(__file__).parents[2]


def recorded() -> set[tuple[str, str]]:
    """Family and release of every recording in which vLLM built a quantized draft."""
    found = set()
    for path in files(ROOT / "tests" / "conformance"):
        family = policy.recognise(tiny.config(family_of(path)))
        assert family is not None
        built = (case.draft_class is not None and bool(case.scheme) for case in read(path))
        if any(built):
            found.add((family, path.parent.name))
    return found


def test_what_is_graded_run_is_recorded_and_the_reverse() -> None:
    cells = {(f.family, c.release) for f in coverage() for c in f.cells if c.grade == "run"}
    assert cells == recorded()


def test_other_platforms_are_never_graded_run() -> None:
    grades = {c.grade for f in coverage() for c in f.cells if c.platform != "cuda"}
    assert "run" not in grades


def test_the_page_of_the_docs_is_up_to_date() -> None:
    page = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
    assert page == markdown(coverage())
