"""The finding codes in words, from `data/findings.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one finding code means.

    Attributes:
        code: such as `MTP101`. title: a few words.
        meaning: what is the matter, and what it comes to.
        example: a case of it. remedy: what to do.
    """

    code: str
    title: str
    meaning: str
    example: str
    remedy: str


@cache
def explained() -> Mapping[str, Explanation]:
    """Every code that is explained, in order."""
    path = resources.files("mtpfix") / "data" / "findings.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    return {code: Explanation(code, **rows[code]) for code in sorted(rows)}


def title(code: str) -> str:
    """A code in a few words; empty for a code that nobody explains."""
    found = explained().get(code)
    return "" if found is None else found.title
