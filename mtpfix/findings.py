"""The kinds of findings, one record each, from `data/findings.json`. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from mtpfix.model import Finding, Severity

PAGE = "https://github.com/mtpfix/mtpfix/blob/main/docs/reference/findings.md"
"""Where every code is explained to who has no mtpfix at hand."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What one finding code means, and what is done about it.

    Attributes:
        code: such as `MTP101`.
        title: a few words.
        severity: the gravest that a finding of this code has.
        meaning: what is the matter, and what it comes to.
        example: a case of it.
        remedy: what to do, in words.
        fixed_by: what `rewrite` edits: the `metadata`; the `target list` or any metadata of the
            `target model`, which move its modules and need leave; a `copy` of the metadata, where a
            draft reads one and finds none; None: nothing.
        by_rewrite: `rewrite` can do something about it, also where no single edit is its fix.
        by_hand: what fixes it by hand, in a few words, where `rewrite` does nothing.
        unjudged: it says that something could not be judged: it passes no gate in silence.
    """

    code: str
    title: str
    severity: Severity
    meaning: str
    example: str
    remedy: str
    fixed_by: Literal["metadata", "target list", "target model", "copy"] | None = None
    by_rewrite: bool = False
    by_hand: str | None = None
    unjudged: bool = False

    @property
    def url(self) -> str:
        """The page that explains it, at its heading: forges make such an anchor of a heading."""
        heading = f"{self.code}: {self.title}".lower().replace(" ", "-")
        return f"{PAGE}#{re.sub(r'[^-_a-z0-9]', '', heading)}"


@cache
def kinds() -> Mapping[str, Kind]:
    """Every kind by its code, in order."""
    path = resources.files("mtpfix") / "data" / "findings.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    return {code: Kind(code, **rows[code]) for code in sorted(rows)}


def kind(finding: Finding) -> Kind:
    """The kind of a finding; of a code that is none of ours nothing is known."""
    return kinds().get(finding.code) or Kind(finding.code, "", finding.severity, "", "", "")


def is_unjudged(finding: Finding) -> bool:
    """Whether a finding says that something could not be judged."""
    return kind(finding).unjudged
