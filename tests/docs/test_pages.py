"""Every block of every page runs, and prints what the page shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.stage import ROOT, Theatre, pages, played

_NEW = re.compile(r"NAME|0\.34\.0")
"""In the paths of what a contributor makes."""


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_shows_what_its_commands_print(page: Path, house: Theatre, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for result in played(text, house.stage(tmp_path / "page")):
        assert result.shown == result.came, (
            f"{page.name}:{result.first + 1}; renew it with: "
            f"python -m tests.docs.refresh {page.relative_to(ROOT)}"
        )


def test_what_contributors_are_told_to_touch_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:docs|mtpfix|tests|tools)/[^`\s]*)`", text)
    gone = [path for path in named if not _NEW.search(path) and not (ROOT / path).exists()]
    assert len(named) > len(gone) == 0, gone
