"""Writes the page of findings, which reports link to where the forge shows it.

python -m tools.docs.page
"""

from __future__ import annotations

import re
from pathlib import Path

from tools.docs import reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "findings.md"
_MADE = re.compile(r"(<!-- findings: .*? -->\n).*?(<!-- end of findings -->)", re.DOTALL)


def page() -> str:
    """Return the page with the findings as they are now."""
    text = PAGE.read_text(encoding="utf-8")
    return _MADE.sub(lambda found: f"{found[1]}\n{reference.findings()}\n{found[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
