"""Why a module stays wrong under the best plan, in words for the user. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from typing import Protocol

from packaging.version import Version

from mtpfix.engines import registry
from mtpfix.engines.base import Engine
from mtpfix.model import EngineReport, ModuleReport, State
from mtpfix.repair.plan import Advice, Unresolved

VAIN = "its entry is left out, since other modules of the draft stay wrong"
"""Why an entry is not written that would be right for a module."""


def reason(report: ModuleReport, engine: str, shared: str | None = None) -> str:
    """Return why a module stays wrong.

    Args:
        report: the module.
        engine: who builds it.
        shared: a module of the target model that every entry which fixes this one would change,
            and for whom.
    """
    if report.limit is not None:
        good = report.limit.good_from
        return report.limit.reason + (f"; fixed in {engine} {good}" if good else "")
    if report.disk.state is State.MIXED:
        return "some of its members are quantized on disk and others are not"
    if report.decision.built == "error":
        return report.decision.error or f"{engine} raises an exception while it builds the module"
    if shared is not None:
        return (
            f"every entry that matches it also matches {shared}; quantize that too, or store the "
            "checkpoint with a method whose entries can be anchored"
        )
    return "nothing that the metadata can say gives it the scheme that is on disk"


def not_in_one_list(engine: Engine, why: str, advice: Advice) -> tuple[str, Advice]:
    """Return why a list that is made for another engine leaves a module wrong, and what helps.

    Args:
        engine: who builds the module.
        why: what keeps an entry from fixing it.
        advice: what helps with its releases.
    """
    apart = f"`mtpfix override --engine {engine.name}` says what {engine.title} needs instead"
    why = f"{engine.title} cannot be served by the same list: {why}"
    return why, replace(advice, otherwise=advice.otherwise or apart)


def nameless(engine: Engine, *, servable: bool) -> tuple[str, Advice]:
    """Return why a module stays wrong that a release asks about by an empty name, and what helps.

    Args:
        engine: who builds the module.
        servable: whether the method has an entry that fits the empty name and no other.
    """
    asked = f"{engine.title} asks about it under an empty name here, and"
    if servable:
        why = "mtpfix writes an entry for the empty name only if you choose the release"
        return f"{asked} {why}", Advice(option=f"--{engine.name}")
    why = "only an empty entry would match, which other readers apply to every module"
    return f"{asked} {why}", Advice(otherwise="quantize the module")


def held(stays: Unresolved, judged: Sequence[EngineReport], deciding: Set[str]) -> Unresolved:
    """Return what stays wrong with the advice that the judgement after the repair bears out.

    A module may be right from a release on in which another one still fails, and a plan for one
    release helps only where nothing but modules without a name is wrong.

    Args:
        stays: the module, and what helps it.
        judged: all releases and platforms that are planned for, after the repair.
        deciding: the platforms that decide.
    """
    own = [each for each in judged if each.engine == stays.engine]
    newer = _clean_from(own)
    if not newer and (newer := _clean_from([e for e in own if e.platform in deciding])):
        newer += f" on {', '.join(sorted(deciding))}"
    here = [each for each in own if each.version in stays.releases and each.outcome != "clean"]
    option = stays.advice.option if all(map(_only_nameless, here)) else ""
    return replace(stays, advice=replace(stays.advice, newer=newer, option=option))


def _only_nameless(judged: EngineReport) -> bool:
    """Return whether nothing is wrong with a release but modules without a name."""
    wrong = [report for report in judged.modules if report.agrees is False]
    named = any(report.decision.module.name for report in wrong)
    return not named and judged.error in {None, *(report.detail for report in wrong)}


def _clean_from(judged: Sequence[EngineReport]) -> str:
    """Return the first release that is clean on each platform, as all later ones are; or empty."""
    wrong = {Version(each.version) for each in judged if each.outcome != "clean"}
    later = [each for each in judged if not wrong or Version(each.version) > max(wrong)]
    first = min(later, key=lambda each: Version(each.version), default=None)
    return f"{registry.engine(first.engine).title} {first.version} or newer" if first else ""


class Helps(Protocol):
    """What is known of repairs that would fix more than one that was made."""

    @property
    def repair_trunk_mends(self) -> tuple[str, ...]:
        """The modules that `--repair-trunk` would."""

    @property
    def alone_helps(self) -> str:
        """The engine for which a plan for it alone would; or empty."""

    @property
    def renames_help(self) -> bool:
        """Whether `--rename-tensors` would."""


def trunk_helps(names: Sequence[str]) -> str:
    """Return that `--repair-trunk` helps, with what it fixes."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"--repair-trunk also fixes what is said of the target model: `{names[0]}`{more}"


def helping(made: Helps) -> Iterator[str]:
    """Yield what would fix more, and at what cost."""
    if made.repair_trunk_mends:
        yield trunk_helps(made.repair_trunk_mends)
    if made.alone_helps:
        title = registry.engine(made.alone_helps).title
        yield (
            f"--engine {made.alone_helps} fixes more: it plans for {title} alone, and no other "
            "engine is served then"
        )
    if made.renames_help:
        yield "--rename-tensors fixes more: it gives scales of the MTP block other names"
