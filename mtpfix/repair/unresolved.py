"""What stays wrong after a change of the list, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from mtpfix.engines.base import Engine, EngineCase
from mtpfix.model import ModuleReport, State
from mtpfix.quant import Change
from mtpfix.repair import reasons
from mtpfix.repair.plan import Advice, Unresolved
from mtpfix.repair.trials import Key, Trials, key_of, mendable


@dataclass(frozen=True)
class Obstacles:
    """What has kept a search from an entry."""

    shared: dict[Key, str] = field(default_factory=dict)
    """A module that stays wrong -> one of the target model that its entries would change."""
    vain: set[Engine] = field(default_factory=set)
    """Engines whose entries are left out, since they make no release right."""


def unresolved(trials: Trials, change: Change, obstacles: Obstacles) -> tuple[Unresolved, ...]:
    """Return what stays wrong after a change, with the releases and the reason."""
    releases: dict[tuple[str, str, str, Advice], dict[str, None]] = {}
    for case, reports in zip(trials.cases, trials.draft(change), strict=True):
        for report in reports:
            if report.agrees is False:
                reason, advice = _reason(trials, obstacles, case, report)
                key = (case.engine.name, report.decision.module.name, reason, advice)
                releases.setdefault(key, {})[case.release] = None
    left = [
        Unresolved(name, tuple(found), reason, engine, advice)
        for (engine, name, reason, advice), found in releases.items()
    ]
    return tuple(sorted(left, key=lambda stays: reasons.VAIN in stays.reason))


def _reason(
    trials: Trials, obstacles: Obstacles, case: EngineCase, report: ModuleReport
) -> tuple[str, Advice]:
    """Why a module stays wrong, and what the user can do about it."""
    reason, advice = _own_reason(trials, obstacles, case, report)
    if case.engine in trials.leading:
        return reason, advice
    return reasons.not_in_one_list(case.engine, reason, advice)


def _own_reason(
    trials: Trials, obstacles: Obstacles, case: EngineCase, report: ModuleReport
) -> tuple[str, Advice]:
    """Return the same, whichever engine leads."""
    module = report.decision.module
    servable = trials.candidates[case.engine].empty_entry is not None
    written = servable and trials.options.chosen_releases
    nameless = not module.name and report.disk.state is State.UNQUANTIZED
    if nameless and not written and report.limit is None:
        return reasons.nameless(case.engine, servable=servable)
    shared = obstacles.shared.get(key_of(case, report))
    if case.engine in obstacles.vain and shared is None and mendable(report):
        return reasons.VAIN, Advice()
    return reasons.reason(report, case.engine.title, shared), Advice()
