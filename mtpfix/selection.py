"""Which releases and platforms a repair is planned for, and which of them decide.

A repair is planned for as many releases as possible, so that one edit serves them all. Whether it
is good enough is asked of fewer: of what the user selected, or else of what `check` asks for. Made
and validated once, before anything is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.judge import Case
from mtpfix.errors import UsageError
from mtpfix.model import PLATFORMS, Platform

NEWEST = ("newest",)
ALL = ("all",)
GATED: tuple[Platform, ...] = ("cuda",)
"""The platforms that `check` asks for where none is given."""

_Word = TypeVar("_Word", bound=str)


@dataclass(frozen=True, slots=True)
class Scope:
    """Releases, oldest first, each on every one of some platforms."""

    releases: tuple[str, ...]
    platforms: tuple[Platform, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """For what a repair is planned, and what decides whether it is right.

    Attributes:
        planned: what the edits are planned for; nothing in it is made worse.
        decisive: what must be right: it alone decides exit code and refusal.
        explicit: whether the user named the releases.
    """

    planned: Scope
    decisive: Scope
    explicit: bool

    def deciding(self, cases: Sequence[Case]) -> tuple[Case, ...]:
        """Return the cases that decide.

        A family may lack the newest release or the default platform: then the newest release that
        has it decides, on every platform.

        Args:
            cases: those of `planned` that the family has, oldest first; at least one.
        """
        found = tuple(
            case
            for case in cases
            if case.context.release in self.decisive.releases
            and case.context.platform in self.decisive.platforms
        )
        newest = cases[-1].context.release
        return found or tuple(case for case in cases if case.context.release == newest)


def select(
    vllm: Iterable[str] | None = None, platforms: Iterable[Platform] | None = None
) -> Selection:
    """Return the selection for what a user gave; what is given decides in full.

    Args:
        vllm: releases (`0.32.0`), specifiers (`>=0.28,<0.34`), `newest` or `all`. None: planned
            for all, and the newest decides.
        platforms: names of platforms. None: planned for all, and CUDA decides.

    Raises:
        UsageError: something is empty, or no release, specifier or platform.
        UnknownError: a release is older than all that is known, or a specifier fits none.
    """
    given = None if vllm is None else policy.select_releases(listed(vllm))
    named = None if platforms is None else policy.valid_platforms(listed(platforms))
    return Selection(
        planned=Scope(given or policy.select_releases(ALL), named or PLATFORMS),
        decisive=Scope(given or policy.select_releases(NEWEST), named or GATED),
        explicit=given is not None,
    )


def listed(given: Iterable[_Word]) -> tuple[_Word, ...]:
    """Return words as a tuple; a single string counts as one word.

    Raises:
        UsageError: there is none.
    """
    words = (given,) if isinstance(given, str) else tuple(given)
    if not words:
        raise UsageError("no release or no platform is given", "leave the argument out")
    return words  # type: ignore[return-value]
