"""Every block of every page runs, and prints what the page shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.stage import ROOT, Theatre, pages, played


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_shows_what_its_commands_print(page: Path, house: Theatre, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for result in played(text, house.stage(tmp_path / "page")):
        assert result.shown == result.came, (
            f"{page.name}:{result.first + 1}; renew it with: "
            f"python -m tests.docs.refresh {page.relative_to(ROOT)}"
        )
