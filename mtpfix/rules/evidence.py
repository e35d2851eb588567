"""What a rule may look at: one release's view of one checkpoint. No I/O."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from mtpfix.engines.base import EngineCase
from mtpfix.model import (
    GRADES,
    Checkpoint,
    EngineReport,
    Entry,
    Finding,
    Grade,
    ModuleReport,
    Problem,
    QuantView,
    Where,
)

LineOf = Callable[[str, str], int | None]
"""File and JSON pointer -> line in that file."""


@dataclass(frozen=True)
class Evidence:
    """One release on one platform, the metadata and the disk.

    Attributes:
        case: what the release makes of the checkpoint.
        view: the metadata as the files spell it.
        report: what the release comes to; holds every draft and trunk module.
        block: the checkpoint that the MTP block is in.
        problems: what is wrong with the files.
        line_of: finds the line of an entry.
        alike: whether evidence of one `key` leads to the same findings.
    """

    case: EngineCase
    view: QuantView
    report: EngineReport
    block: Checkpoint
    problems: tuple[Problem, ...]
    line_of: LineOf
    alike: bool = False

    @property
    def key(self) -> Hashable:
        """What all of this rests on, as far as is known; see `engines.alike`."""
        own = None if self.alike else id(self)
        return self.case.fingerprint(self.view), self.case.grade, own

    @property
    def engine(self) -> str:
        """The engine, as people spell it."""
        return self.case.engine.title

    @property
    def has_metadata(self) -> bool:
        """Whether the checkpoint has quantization metadata at all."""
        return bool(self.view.method)

    def graded(self, finding: Finding) -> Finding:
        """A finding is known no better than what is known of the release."""
        known = max(finding.confidence, self.case.grade, key=GRADES.index)
        assumed = known == "assumed"
        return replace(finding, confidence=known) if assumed else finding

    @cached_property
    def draft(self) -> tuple[ModuleReport, ...]:
        """Reports of the draft modules that the engine asks a method for."""
        return tuple(r for r in self._of("draft") if r.decision.module.asks)

    @cached_property
    def unasked(self) -> tuple[ModuleReport, ...]:
        """Reports of the draft modules that the engine builds unquantized without asking."""
        return tuple(r for r in self._of("draft") if not r.decision.module.asks)

    @cached_property
    def trunk(self) -> tuple[ModuleReport, ...]:
        """Reports of the trunk modules that the engine asks a method for."""
        return tuple(r for r in self._of("trunk") if r.decision.module.asks)

    @cached_property
    def trunk_names(self) -> dict[str, None]:
        """Every name of a trunk module: in the engine and on disk, one expert for all."""
        found: dict[str, None] = {}
        for report in self._of("trunk"):
            module = report.decision.module
            found[module.name] = None
            found.update(dict.fromkeys(m.replace("*", "0") for m in module.members))
        return found

    @cached_property
    def whole_trunk(self) -> tuple[ModuleReport, ...]:
        """Reports of all trunk modules, those that it asks no method for included."""
        return tuple(self._of("trunk"))

    def _of(self, part: str) -> Iterator[ModuleReport]:
        return (r for r in self.report.modules if r.decision.module.part == part)

    def where(self, entry: Entry | None) -> Where | None:
        """The place of an entry, with its line; of one from headers, where the list would stand."""
        if entry is None:
            return None
        if entry.derived:
            return self.at(self.view.file, self.view.ignore_pointer)
        return Where(entry.file, entry.pointer, self.line_of(entry.file, entry.pointer))

    def at(self, file: str, pointer: str) -> Where:
        """A place in a file, with its line."""
        return Where(file, pointer, self.line_of(file, pointer))


Rule = Callable[[Evidence], Iterable[Finding]]


def names(reports: Iterable[ModuleReport]) -> tuple[str, ...]:
    """Construction-time names of some reports."""
    return tuple(r.decision.module.name for r in reports)


def some(items: Iterable[str], most: int = 3) -> str:
    """The first few of some names, and how many more there are, for a message."""
    listed = Counter(items)
    shown = ", ".join(_quoted(item, times) for item, times in list(listed.items())[:most])
    return shown if len(listed) <= most else f"{shown} and {len(listed) - most} more"


def _quoted(name: str, times: int) -> str:
    """A name in backticks; only the empty one can stand for several modules."""
    often = f", {times} times" if times > 1 else ""
    return f"`{name}`" if name else f"`` (the empty name{often})"


def exception(text: str) -> str:
    """Return `Type: message` in words; an exception without a message is said to have none."""
    name = text.rstrip().removesuffix(":")
    bare = re.fullmatch(r"[A-Za-z_]\w*(Error|Exception|Interrupt)", name) is not None
    return f"{name} (without a message)" if bare else text


def counted_subject(number: int, noun: str) -> tuple[str, str]:
    """Subject and verb of a sentence, and the pronoun for it: `1 module is`, `it`."""
    return (f"1 {noun} is", "it") if number == 1 else (f"{number:,} {noun}s are", "them")


def grade_of(reports: Iterable[ModuleReport]) -> Grade:
    """The weakest evidence among some reports."""
    return max((r.decision.module.grade for r in reports), key=GRADES.index, default="run")
