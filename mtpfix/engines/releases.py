"""Releases of an engine, chosen by what a user typed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from mtpfix.errors import UnknownError, UsageError
from mtpfix.model import PLATFORMS, Platform

MINOR = 2
"""How many numbers of a version tell releases apart where nothing else is said."""


def select_releases(
    wanted: Iterable[str], covered: Sequence[str], title: str, depth: int = MINOR
) -> tuple[str, ...]:
    """Return releases for what a user typed: `0.32.0`, `v0.32`, `>=0.28,<0.34`, `all` or `newest`.

    `latest` is another word for `newest`. A release that is newer than all that is known is taken
    too (see `is_newer`); of a specifier that matches no covered release, the first that it matches
    counts as if it had been typed.

    Args:
        wanted: what was typed.
        covered: the releases that are known, oldest first, as `depth` tells them apart.
        title: the engine, as people spell it.
        depth: how many numbers of a version tell releases apart.

    Raises:
        UsageError: a value is neither a release nor a specifier.
        UnknownError: a release is older than all that is known, or a specifier selects none.
    """
    chosen: dict[str, None] = {}
    for text in wanted:
        chosen.update(dict.fromkeys(_select(text.strip(), covered, title, depth)))
    return tuple(sorted(chosen, key=Version))


def is_one(text: str) -> bool:
    """Return whether what a user typed is a release, and no specifier or word for some."""
    return text.strip().removeprefix("v")[:1].isdigit()


def _select(text: str, covered: Sequence[str], title: str, depth: int) -> Iterator[str]:
    if not text:
        raise UsageError(
            f"the {title} release is empty", f"write for example {_example(covered, depth)} or all"
        )
    if text == "all":
        yield from covered
    elif text in ("newest", "latest"):
        yield covered[-1]
    elif is_one(text):
        yield _one(text.removeprefix("v"), covered, title, depth)
    else:
        try:
            specifier = SpecifierSet(text)
        except InvalidSpecifier as error:
            raise UsageError(
                f"{text!r} is neither a {title} release nor a specifier",
                f"write for example {_example(covered, depth)} or all",
            ) from error
        chosen = [release for release in covered if Version(release) in specifier]
        first = None if chosen else _first(specifier, covered, depth)
        if first is not None:
            chosen = [_one(first, covered, title, depth)]
        if not chosen:
            raise UnknownError(
                f"no covered {title} release matches {text!r}", _coverage(covered), code="MTP903"
            )
        yield from chosen


def _first(specifier: SpecifierSet, covered: Sequence[str], depth: int) -> str | None:
    """Return the first release that a specifier matches, if it is none of too old a time.

    It is a version that the specifier states, or the one that follows that.
    """
    found: list[Version] = []
    for each in specifier:
        try:
            numbers = Version(each.version.removesuffix(".*")).release
        except InvalidVersion:  # `===` compares any text
            continue
        whole = (*numbers, *[0] * (3 - len(numbers)))
        after = (*whole[: depth - 1], whole[depth - 1] + 1, *[0] * (3 - depth))
        found += [Version(".".join(map(str, one))) for one in (whole, after)]
    oldest = Version(covered[0]).release[:depth]
    fitting = (v for v in found if v.release[:depth] >= oldest and specifier.contains(v))
    first = min(fitting, default=None)
    return None if first is None else str(first)


def _one(text: str, covered: Sequence[str], title: str, depth: int) -> str:
    try:
        version = Version(text)
    except InvalidVersion as error:
        raise UsageError(
            f"{text!r} is not a version",
            f"write for example {covered[max(-2, -len(covered))]}",
        ) from error
    for release in covered:
        if Version(release).release[:depth] == version.release[:depth]:
            return text if text.count(".") > 1 else release
    if is_newer(text, covered, depth):
        return text if text.count(".") > 1 else f"{text}.0"
    raise UnknownError(f"{title} {text} is not covered", _coverage(covered), code="MTP903")


def is_newer(release: str, covered: Sequence[str], depth: int = MINOR) -> bool:
    """Return whether a release is newer than all that is known."""
    return Version(release).release[:depth] > Version(covered[-1]).release[:depth]


def unknown_patches(
    releases: Iterable[str], covered: Sequence[str], title: str, depth: int = MINOR
) -> Iterator[str]:
    """Yield a sentence for each release that is before its time, or whose patch is not known.

    Args:
        releases: releases that `select_releases` has chosen.
        covered: the releases that are known, oldest first, as `depth` tells them apart.
        title: the engine, as people spell it.
        depth: how many numbers of a version tell releases apart.
    """
    known = {Version(release).release[:depth]: release for release in covered}
    for release in dict.fromkeys(releases):
        version = Version(release)
        same = known.get(version.release[:depth])
        if same is not None and (version.is_prerelease or version.release > Version(same).release):
            yield f"mtpfix knows no {title} {release}, and judges it as {same}"


def later_releases(release: str, covered: Sequence[str], depth: int = MINOR) -> tuple[str, ...]:
    """Return the covered releases that are later, oldest first."""
    own = Version(release).release[:depth]
    return tuple(r for r in covered if Version(r).release[:depth] > own)


def _example(covered: Sequence[str], depth: int) -> str:
    """Return what could be typed: a release, and a specifier that ends before the next one."""
    first, last = (Version(covered[at]).release[:depth] for at in (max(-6, -len(covered)), -1))
    start, end = (".".join(map(str, each)) for each in (first, (*last[:-1], last[-1] + 1)))
    return f"{covered[max(-2, -len(covered))]}, '>={start},<{end}'"


def _coverage(covered: Sequence[str]) -> str:
    return f"mtpfix covers {covered[0]} to {covered[-1]}; see `mtpfix families`"


def valid_platforms(wanted: Iterable[Platform]) -> tuple[Platform, ...]:
    """Return the wanted platforms as a tuple.

    Raises:
        UsageError: a name is that of no platform.
    """
    names = tuple(wanted)
    unheard = next((name for name in names if name not in PLATFORMS), None)
    if unheard is not None:
        raise UsageError(
            f"{unheard!r:.60} is not a platform", f"choose from {', '.join(PLATFORMS)}"
        )
    return names
