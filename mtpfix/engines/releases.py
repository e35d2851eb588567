"""Releases of an engine, chosen by what a user typed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from mtpfix.errors import UnknownError, UsageError
from mtpfix.model import PLATFORMS, Platform


def select_releases(wanted: Iterable[str], covered: Sequence[str], title: str) -> tuple[str, ...]:
    """Return releases for what a user typed: `0.32.0`, `0.32`, `>=0.28,<0.34`, `all` or `newest`.

    A release that is newer than all that is known is taken too (see `is_newer`).

    Args:
        wanted: what was typed.
        covered: the releases that are known, oldest first, one a minor version.
        title: the engine, as people spell it.

    Raises:
        UsageError: a value is neither a release nor a specifier.
        UnknownError: a release is older than all that is known, or a specifier selects none.
    """
    chosen: dict[str, None] = {}
    for text in wanted:
        chosen.update(dict.fromkeys(_select(text.strip(), covered, title)))
    return tuple(sorted(chosen, key=Version))


def _select(text: str, covered: Sequence[str], title: str) -> Iterator[str]:
    if not text:
        raise UsageError(
            f"the {title} release is empty", "write for example 0.32.0, '>=0.28' or all"
        )
    if text == "all":
        yield from covered
    elif text == "newest":
        yield covered[-1]
    elif text[:1].isdigit():
        yield _one(text, covered, title)
    else:
        try:
            specifier = SpecifierSet(text)
        except InvalidSpecifier as error:
            raise UsageError(
                f"{text!r} is neither a {title} release nor a specifier",
                "write for example 0.32.0, '>=0.28,<0.34' or all",
            ) from error
        chosen = [release for release in covered if Version(release) in specifier]
        if not chosen:
            raise UnknownError(
                f"no covered {title} release matches {text!r}", _coverage(covered), code="MTP903"
            )
        yield from chosen


def _one(text: str, covered: Sequence[str], title: str) -> str:
    try:
        version = Version(text)
    except InvalidVersion as error:
        raise UsageError(f"{text!r} is not a version", "write for example 0.32.0") from error
    for release in covered:
        if Version(release).release[:2] == version.release[:2]:
            return text if text.count(".") > 1 else release
    if is_newer(text, covered):
        return text if text.count(".") > 1 else f"{text}.0"
    raise UnknownError(f"{title} {text} is not covered", _coverage(covered), code="MTP903")


def is_newer(release: str, covered: Sequence[str]) -> bool:
    """Return whether a release is newer than all that is known."""
    return Version(release).release[:2] > Version(covered[-1]).release[:2]


def later_releases(release: str, covered: Sequence[str]) -> tuple[str, ...]:
    """Return the covered releases of later minor versions, oldest first."""
    minor = Version(release).release[:2]
    return tuple(r for r in covered if Version(r).release[:2] > minor)


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
