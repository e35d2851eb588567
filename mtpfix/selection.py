"""Which engines, releases and platforms are asked, and which of them decide.

A repair is planned for as many releases as possible, so that one edit serves them all. Whether it
is good enough is asked of fewer: of what the user selected, or else of what `check` asks for. Made
and validated once, before anything is read, and passed on as one value.

Where nothing is selected, every engine is asked, and the default one decides. What another makes of
a target is told beside, as far as it knows the family.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from mtpfix.engines import registry
from mtpfix.engines.base import Engine, EngineCase
from mtpfix.engines.releases import is_one, select_releases, valid_platforms
from mtpfix.errors import UnknownError, UsageError
from mtpfix.model import PLATFORMS, Platform

NEWEST = ("newest",)
ALL = ("all",)
GATED: tuple[Platform, ...] = ("cuda",)
"""The platforms that `check` asks for where none is given."""

_Word = TypeVar("_Word", bound=str)


@dataclass(frozen=True, slots=True)
class Scope:
    """Releases of engines, each on every one of some platforms.

    Attributes:
        engines: each engine with its releases, oldest first.
        platforms: the platforms.
        unknown: why what was asked for is not covered, or None.
        named: the releases that were asked for one by one, each of which must have a draft.
    """

    engines: tuple[tuple[Engine, tuple[str, ...]], ...]
    platforms: tuple[Platform, ...]
    unknown: UnknownError | None = field(default=None, compare=False)
    named: frozenset[tuple[Engine, str]] = frozenset()

    def releases_of(self, engine: Engine) -> tuple[str, ...]:
        """Return the releases of an engine; none where it is not asked.

        Raises:
            UnknownError: what was asked for is not covered.
        """
        if self.unknown is not None:
            raise self.unknown
        return next((releases for asked, releases in self.engines if asked is engine), ())

    def holds(self, case: EngineCase) -> bool:
        """Return whether a case is of one of these releases, on one of these platforms.

        An engine that tells GPUs not apart has `cuda` where `cuda:10.0` is asked for.
        """
        asked = {*self.platforms, *(name.partition(":")[0] for name in self.platforms)}
        return case.release in self.releases_of(case.engine) and case.platform in asked


_NOTHING = Scope((), ())


@dataclass(frozen=True, slots=True)
class Selection:
    """For what a repair is planned, and what decides whether it is right.

    Attributes:
        planned: what the edits are planned for; nothing in it is made worse.
        decisive: what must be right: it alone decides exit code and refusal.
        explicit: whether the user named the releases.
        beside: what is judged without being asked for by name, and decides nothing.
        options: the words of a command line that select the same.
    """

    planned: Scope
    decisive: Scope
    explicit: bool
    beside: Scope = _NOTHING
    options: tuple[str, ...] = field(default=(), compare=False)

    @property
    def engines(self) -> tuple[Engine, ...]:
        """The engines that are asked."""
        return tuple(engine for engine, _ in self.planned.engines)

    @property
    def shown(self) -> Scope:
        """What `inspect` shows: what decides, and what is told beside it."""
        decisive = self.decisive
        return replace(decisive, engines=(*decisive.engines, *self.beside.engines))

    def requires(self, engine: Engine) -> bool:
        """Return whether an engine must know the target: others may be silent about it."""
        return any(asked is engine for asked, _ in self.decisive.engines)

    def of(self, name: str) -> Selection:
        """Return the same selection for one engine alone."""

        def only(scope: Scope) -> Scope:
            return replace(scope, engines=tuple(p for p in scope.engines if p[0].name == name))

        return replace(
            self, planned=only(self.planned), decisive=only(self.decisive), beside=_NOTHING
        )

    def narrowed(self, cases: Iterable[EngineCase]) -> Selection:
        """Return a selection of nothing but the releases and platforms of some cases."""
        chosen = tuple(cases)
        engines = tuple(
            (engine, tuple(dict.fromkeys(c.release for c in chosen if c.engine is engine)))
            for engine in dict.fromkeys(case.engine for case in chosen)
        )
        scope = Scope(engines, tuple(dict.fromkeys(case.platform for case in chosen)))
        return replace(self, planned=scope, decisive=scope)

    def deciding(self, cases: Sequence[EngineCase]) -> tuple[EngineCase, ...]:
        """Return the cases that decide.

        A family may lack the newest release or the default platform of an engine: then its newest
        release that has the family decides, on every platform.

        Args:
            cases: those of `planned` that the family has, oldest first; at least one.
        """
        asked = (engine for engine, _ in self.decisive.engines)
        return tuple(case for engine in asked for case in self._deciding(engine, cases))

    def _deciding(self, engine: Engine, cases: Sequence[EngineCase]) -> list[EngineCase]:
        own = [case for case in cases if case.engine is engine]
        found = [case for case in own if self.decisive.holds(case)]
        return found or [case for case in own if case.release == own[-1].release]


def select(
    *,
    engines: Iterable[str] | None = None,
    platforms: Iterable[Platform] | None = None,
    **releases: Iterable[str] | None,
) -> Selection:
    """Return the selection for what a user gave; what is given decides in full.

    Args:
        engines: requirements, such as `vllm` or `vllm>=0.28,<0.34`; a name alone leaves the
            choice of its releases open. None: every engine is asked, and the default decides.
        platforms: names of platforms. None: planned for all, and CUDA decides.
        releases: name of an engine -> its releases (`0.32.0`), specifiers (`>=0.28,<0.34`),
            `newest` or `all`. None, or not given: planned for all, and the newest decides.

    Raises:
        UsageError: something is empty, or no release, requirement or platform.
    """
    short = {name: listed(words) for name, words in releases.items() if words is not None}
    named = None if engines is None else listed(engines)
    wanted = _wanted(short, named or ())
    others = () if wanted else _others()
    wanted = wanted or {registry.engine(registry.DEFAULT): []}
    on = None if platforms is None else valid_platforms(listed(platforms))
    unknown: UnknownError | None = None
    single: set[tuple[Engine, str]] = set()
    planned: dict[Engine, tuple[str, ...]] = dict.fromkeys(wanted, ())
    decisive = dict(planned)
    beside = {engine: engine.releases[-1:] for engine in others}
    try:
        for engine, words in wanted.items():
            planned[engine] = _releases(engine, words or ALL)
            decisive[engine] = _releases(engine, words or NEWEST)
            single |= {(engine, release) for release in _releases(engine, filter(is_one, words))}
    except UnknownError as error:
        unknown = error
    every = (*planned.items(), *((engine, engine.releases) for engine in others))
    given = {**{f"--{name}": words for name, words in short.items()}, "--engine": named}
    given["--platform"] = on
    return Selection(
        planned=Scope(every, on or PLATFORMS, unknown, frozenset(single)),
        decisive=Scope(tuple(decisive.items()), on or GATED, unknown, frozenset(single)),
        explicit=any(wanted.values()),
        beside=Scope(tuple(beside.items()), on or GATED),
        options=tuple(w for flag, ws in given.items() for word in ws or () for w in (flag, word)),
    )


def asking(engine: str, release: str) -> str:
    """Return the option that asks for a release of an engine, or for `all`."""
    if engine in registry.OPTIONS:
        return f"--{engine} {release}"
    return f"--engine '{engine}>=0'" if release == "all" else f"--engine {engine}=={release}"


def _others() -> tuple[Engine, ...]:
    """Return every engine but the default."""
    return tuple(map(registry.engine, registry.BESIDE))


def _wanted(short: Mapping[str, Iterable[str]], engines: Iterable[str]) -> dict[Engine, list[str]]:
    """Return each engine that is asked, with the words that choose its releases."""
    wanted: dict[Engine, list[str]] = {}
    for text in engines:
        engine, word = _parse_requirement(text)
        wanted.setdefault(engine, []).extend([word] if word else [])
    for name, words in short.items():
        wanted.setdefault(registry.engine(name), []).extend(words)
    return wanted


def _parse_requirement(text: str) -> tuple[Engine, str]:
    """Return the engine of a requirement, and what chooses its releases; empty: nothing does."""
    from packaging.requirements import (  # noqa: PLC0415 - slow, and only for `--engine`
        InvalidRequirement,
        Requirement,
    )

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        raise UsageError(
            f"{text!r:.60} is not a requirement", "write for example vllm or 'vllm>=0.28,<0.34'"
        ) from None
    if requirement.extras or requirement.marker or requirement.url:
        raise UsageError(
            f"{text!r:.60} says more than an engine and its releases",
            "write for example vllm or 'vllm>=0.28,<0.34'",
        )
    exact = [s.version for s in requirement.specifier if s.operator in ("==", "===")]
    single = len(requirement.specifier) == 1 and exact and not exact[0].endswith(".*")
    word = exact[0] if single else str(requirement.specifier)
    return registry.engine(requirement.name), word


def _releases(engine: Engine, words: Iterable[str]) -> tuple[str, ...]:
    return select_releases(words, engine.releases, engine.title, engine.depth)


def listed(given: Iterable[_Word]) -> tuple[_Word, ...]:
    """Return words as a tuple; a single string counts as one word.

    Raises:
        UsageError: there is none.
    """
    words = (given,) if isinstance(given, str) else tuple(given)
    if not words:
        raise UsageError("no release, no engine or no platform is given", "leave the argument out")
    return words  # type: ignore[return-value]
