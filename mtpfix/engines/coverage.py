"""What is covered of an engine: family x release x platform x method, each with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mtpfix.model import PLATFORMS, Grade, Platform


@dataclass(frozen=True, slots=True)
class Dialect:
    """One quantization method.

    Attributes:
        method: its name, as the metadata or the engine has it.
        reads: where its metadata stands. repair: the entries that are written, or why none.
        decisions: how many decisions of real releases are recorded, and all foreseen.
        families, releases: of those recordings, the releases oldest first.
        proved: recipe -> the families whose repaired checkpoints the real engine has loaded.
        unproved: why no repair is loaded, where there is a reason; else empty.
    """

    method: str
    reads: str
    repair: str
    decisions: int
    families: tuple[str, ...]
    releases: tuple[str, ...]
    proved: Mapping[str, tuple[str, ...]]
    unproved: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """The evidence for one release on one platform."""

    release: str
    platform: Platform
    grade: Grade


@dataclass(frozen=True, slots=True)
class Covered:
    """One family.

    Attributes:
        family: its name here. title: as people call it.
        architectures, model_types: what `config.json` may name.
        draft_classes: what the newest release may build.
        cells: every release and platform in which the engine has a draft, oldest first.
    """

    family: str
    title: str
    architectures: tuple[str, ...]
    model_types: tuple[str, ...]
    draft_classes: tuple[str, ...]
    cells: tuple[Cell, ...]

    def grade(self, release: str, platform: Platform) -> Grade | None:
        """The evidence, or None where the engine has no draft."""
        found = (c.grade for c in self.cells if (c.release, c.platform) == (release, platform))
        return next(found, None)

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms on which some release has a draft."""
        return tuple(p for p in PLATFORMS if any(cell.platform == p for cell in self.cells))
