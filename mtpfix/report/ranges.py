"""Releases, platforms and layers folded into ranges. Pure."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from mtpfix.report.inert_text import inert

T = TypeVar("T", bound=Hashable)

Label = tuple[str, str]
"""A release and a platform; the platform is empty where there is only one."""

_LABEL = re.compile(r"(?P<release>\S+) \((?P<platform>[\w:.]+)\)")
_RELEASE = re.compile(r"(?P<minor>\d+\.\d+)(\.\d+)?")


def runs(chosen: Iterable[T], order: Sequence[T]) -> list[tuple[T, ...]]:
    """The members of `order` that are chosen, those that follow each other together."""
    wanted = set(chosen)
    found: list[list[T]] = [[]]
    for item in order:
        if item in wanted:
            found[-1].append(item)
        elif found[-1]:
            found.append([])
    return [tuple(run) for run in found if run]


def numbers(chosen: Iterable[int]) -> str:
    """Numbers as ranges, for example `0-2, 5`."""
    found: list[list[int]] = []
    for number in sorted(set(chosen)):
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(_span([str(number) for number in run]) for run in found)


def part(chosen: Iterable[int]) -> str:
    """Numbers as one part of a name: `3`, or `{0-2,5}` for several."""
    spelled = numbers(chosen).replace(" ", "")
    return spelled if spelled.isdigit() else f"{{{spelled}}}"


def releases(chosen: Iterable[str], known: Iterable[str]) -> str:
    """Releases as ranges, oldest first, for example `0.20-0.23, 0.30`.

    Args:
        chosen: the releases to name.
        known: all releases in question: a range runs over those that follow each
            other here. Patch numbers go where the rest tells them apart.
    """
    wanted = set(chosen)
    order = sorted({*known, *wanted}, key=age)
    short = _short(order)
    return ", ".join(_span([short[name] for name in run]) for run in runs(wanted, order))


def labels(chosen: Iterable[Label], known: Iterable[Label]) -> str:
    """Releases on platforms, for example `0.30-0.33 on cuda, rocm; 0.33 on xpu`."""
    everywhere = {release for release, _ in known}
    spans: dict[str, list[str]] = {}
    by_platform: dict[str, list[str]] = {}
    for release, platform in chosen:
        by_platform.setdefault(platform, []).append(release)
    for platform, found in by_platform.items():
        spans.setdefault(releases(found, everywhere), []).append(platform)
    return "; ".join(f"{span}{_on(platforms)}" for span, platforms in spans.items())


def parse_label(label: str) -> Label:
    """Release and platform of a label such as `0.32.0 (cuda)`; the platform may be absent."""
    found = _LABEL.fullmatch(label)
    return (label, "") if found is None else (found["release"], found["platform"])


def _on(platforms: Sequence[str]) -> str:
    named = ", ".join(inert(platform) for platform in platforms if platform)
    return f" on {named}" if named else ""


def _span(run: Sequence[str]) -> str:
    return run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}"


def age(release: str) -> tuple[tuple[int, ...], int, str]:
    """Sorting key: the numbers first, then a pre-release before the release itself."""
    found = re.match(r"\d+(\.\d+)*", release)
    numeric = found[0] if found else ""
    rest = release[len(numeric) :]
    parts = tuple(int(part[:9]) for part in numeric.split(".") if part)
    return parts, 0 if re.match(r"\.?(a|b|rc|dev)", rest) else 1, rest


def _short(order: Sequence[str]) -> dict[str, str]:
    """How each release is written: `0.20` for `0.20.2` where no two share a minor number."""
    minors = [found["minor"] for name in order if (found := _RELEASE.fullmatch(name))]
    if 1 < len(order) == len(set(minors)):
        return dict(zip(order, minors, strict=True))
    return {name: inert(name) for name in order}
