"""For what rows of a policy are asked, and which of them hold. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from packaging.version import Version

from mtpfix.engines.policies.condition import EVERY, Condition, specifier
from mtpfix.engines.policies.expression import ExprError, Value
from mtpfix.model import Grade, Platform

MINOR = 2
"""Numbers of a version that tell releases apart where patches change nothing: 0.32."""

_Row = TypeVar("_Row", bound=Condition)


class Question(NamedTuple):
    """What judgement asks of a release and a platform: whether a row speaks of them."""

    releases: str
    depth: int
    platforms: tuple[Platform, ...] | None = None


class _Found(NamedTuple):
    """A value, and the questions that it hung on, with their answers."""

    value: Any
    answers: tuple[tuple[Question, bool], ...]


_KEPT = 4
"""How many of what values are about are remembered."""


class Questions:
    """What was asked of releases and platforms while one target is judged, in order.

    Judgement knows them by such questions alone. So cases of one target that answer alike all that
    was asked are judged alike, and one of them is enough.
    """

    def __init__(self) -> None:
        self.asked: dict[Question, None] = {}
        self._numbers: dict[Hashable, int] = {}
        self._found: dict[int, tuple[object, dict[Hashable, list[_Found]]]] = {}

    def once(
        self, about: object, key: Hashable, context: Context, of: Callable[[Context], Any]
    ) -> Any:
        """Return a value that was found for a context which answers alike all that it hung on.

        Args:
            about: what it is about: the values about the last few of them are kept.
            key: what it rests on besides the answers.
            context: for what it is asked.
            of: finds the value for a context, and rests on nothing else that releases differ in.
        """
        if id(about) not in self._found:
            for old in list(self._found)[: 1 - _KEPT]:
                del self._found[old]
            self._found[id(about)] = about, {}
        known = self._found[id(about)][1].setdefault(key, [])
        for found in known:
            if all(answer(question, context) is yes for question, yes in found.answers):
                break
        else:
            own = Questions()
            value = of(replace(context, release=Release(context.release, own)))
            asked = tuple((question, answer(question, context)) for question in own.asked)
            found = _Found(value, asked)
            known.append(found)
        self.asked.update((question, None) for question, _ in found.answers)
        return found.value

    def number(self, value: Hashable) -> int:
        """Return a number for what a release builds: equal values have the same."""
        return self._numbers.setdefault(value, len(self._numbers))


class Release(str):
    """A release that notes what it is asked."""

    __slots__ = ("questions",)
    questions: Questions

    def __new__(cls, release: str, questions: Questions) -> Release:
        """Return a release of one target.

        Args:
            release: the release.
            questions: what its target's releases are asked.
        """
        made = super().__new__(cls, release)
        made.questions = questions
        return made


@dataclass(frozen=True, slots=True)
class Context:
    """For what a policy is asked: a release, a platform and a configuration."""

    release: str
    platform: Platform
    fields: Mapping[str, Value]
    """Fields of the (text) configuration, with the engine's defaults filled in."""
    grade: Grade = "run"
    """The evidence for what the policy says of this release and platform."""
    method: str = "compressed-tensors"
    """The quantization method that is in force."""
    depth: int = MINOR
    """How many numbers of a version tell releases apart."""

    def with_fields(self, **fields: Value) -> Context:
        """Return the same context with more fields, such as `layer`."""
        return replace(self, fields={**self.fields, **fields})


def in_releases(releases: str, release: str, depth: int = MINOR) -> bool:
    """Return whether `release` is one that a specifier speaks of.

    Args:
        releases: the specifier.
        release: the release.
        depth: how many numbers of its version count.
    """
    if isinstance(release, Release):
        release.questions.asked[Question(releases, depth)] = None
    return _is_in(releases, release, depth)


@lru_cache(maxsize=4096)
def _is_in(releases: str, release: str, depth: int) -> bool:
    numbers = Version(release).release[:depth]
    return Version(".".join(map(str, numbers))) in specifier(releases)


def fits(row: Condition, context: Context) -> bool:
    """Return whether a row speaks about this release, platform, method and configuration.

    Release and platform are asked about rows alone that may hold, so that few are told apart.
    """
    if row.methods is not None and context.method not in row.methods:
        return False
    if context.method in row.except_:
        return False
    everywhere = row.releases is EVERY and row.platforms is None
    try:
        holds = row.when is None or bool(row.when.value(context.fields))
    except ExprError:
        if everywhere or answers(Question(row.releases, context.depth, row.platforms), context):
            raise
        return False
    return holds and (
        everywhere or answers(Question(row.releases, context.depth, row.platforms), context)
    )


def on_platform(context: Context, platform: Platform) -> bool:
    """Return whether the context is that of a platform."""
    return answers(Question(EVERY, context.depth, (platform,)), context)


def answers(question: Question, context: Context) -> bool:
    """Return whether a row speaks of the release and the platform of a context, and note that."""
    if isinstance(context.release, Release):
        context.release.questions.asked[question] = None
    return answer(question, context)


def answer(question: Question, context: Context) -> bool:
    """Return the same, and note nothing."""
    on = question.platforms is None or context.platform in question.platforms
    return on and (
        question.releases is EVERY or _is_in(question.releases, context.release, question.depth)
    )


def unnoted(context: Context) -> Context:
    """Return the context with a release that notes nothing, for what is compared by value."""
    return replace(context, release=str(context.release))


def fitting(rows: Iterable[_Row], context: Context) -> Iterator[_Row]:
    """Yield the rows that fit, in order."""
    return (row for row in rows if fits(row, context))


def first(rows: Iterable[_Row], context: Context) -> _Row | None:
    """Return the first row that fits, or None."""
    return next(fitting(rows, context), None)
