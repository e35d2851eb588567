"""The finding codes in words, from `data/findings.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from mtpfix.errors import UsageError


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


def explanation(code: str) -> Explanation:
    """The explanation of one code, in any case.

    Raises:
        UsageError: there is no such code.
    """
    found = explained().get(code.strip().upper())
    if found is None:
        raise UsageError(f"no finding has the code {code}", f"codes: {', '.join(explained())}")
    return found
