"""What engines raise or log where metadata and disk part, and what each means. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

LONGEST = 2_000
"""Characters of a line that are looked at."""


@dataclass(frozen=True, slots=True)
class Symptom:
    """One kind of message.

    Attributes:
        name: a short name.
        title: what has happened, in a few words.
        pattern: what such messages have in common.
        engines: names of the engines that say it.
        evidence: `run`: a recording holds such a message; `read`: the engine's source does.
        shown: a message of the kind.
        meaning: what is the matter.
        remedy: what to do, with the commands.
        findings: codes of the findings that foretell it.
    """

    name: str
    title: str
    pattern: str
    engines: tuple[str, ...]
    evidence: Literal["run", "read"]
    shown: str
    meaning: str
    remedy: str
    findings: tuple[str, ...]


@cache
def symptoms() -> tuple[Symptom, ...]:
    """Return every symptom that is known, the most particular first."""
    path = resources.files("mtpfix") / "data" / "symptoms.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["symptoms"]
    lists = ("engines", "findings")
    return tuple(Symptom(**{**row, **{key: tuple(row[key]) for key in lists}}) for row in rows)


def recognise(text: str) -> tuple[Symptom, ...]:
    """Return the symptoms in a message or a log, each once, in the order of the lines."""
    return tuple(dict.fromkeys(_in_lines(text)))


def _in_lines(text: str) -> Iterator[Symptom]:
    for line in text.splitlines():
        found = next((one for one in symptoms() if _pattern(one).search(line[:LONGEST])), None)
        if found is not None:
            yield found


@cache
def _pattern(one: Symptom) -> re.Pattern[str]:
    return re.compile(one.pattern)
