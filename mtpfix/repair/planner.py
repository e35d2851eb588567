"""The plan of a repair: entries of the list, and where none of them help, a scheme. Pure.

Proposals (`quant/schemes/`) say how the metadata could give the block the scheme that is on disk.
Each is tried: the metadata are read again as they would be, entries are planned on top, every
release is predicted, and what moves a module of the target model is thrown away. Of those that
are left the one counts that leaves the fewest releases wrong, and of equals the one with the
fewest edits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mtpfix import quant
from mtpfix.checkpoint import strict_json
from mtpfix.engines.base import EngineCase
from mtpfix.errors import MtpfixError
from mtpfix.model import JsonFile, ModuleReport, QuantView, State
from mtpfix.patterns import budget
from mtpfix.quant import schemes
from mtpfix.quant.schemes import Proposal
from mtpfix.repair import patch, reasons
from mtpfix.repair.lists import list_plan
from mtpfix.repair.plan import Options, Plan, Unresolved
from mtpfix.repair.readers import Readings
from mtpfix.repair.shares import block
from mtpfix.repair.stages import composed
from mtpfix.repair.target_model import TargetModel


@budget.shared()
def plan(
    cases: Sequence[EngineCase],
    view: QuantView,
    options: Options = Options(),  # noqa: B008 - a frozen value
    configs: Mapping[str, JsonFile] | None = None,
    deciding: Collection[EngineCase] = (),
) -> Plan:
    """Return the fewest edits of `view` that are right for all `cases`.

    Args:
        cases: one checkpoint under several releases and platforms; all of one family.
        view: the metadata as it is.
        options: what may be changed.
        configs: the files that state it, by name; None: nothing but the list is changed.
        deciding: the cases that must be right before all others.
    """
    made = list_plan(cases, view, options)
    if configs is None or not _failing(cases, made.view):
        return made
    return _Trials(tuple(cases), view, options, configs, tuple(deciding)).better_than(made)


@dataclass(frozen=True)
class _Trials:
    """Tries proposals of schemes against all cases."""

    cases: tuple[EngineCase, ...]
    view: QuantView
    options: Options
    configs: Mapping[str, JsonFile]
    deciding: tuple[EngineCase, ...]

    def better_than(self, made: Plan) -> Plan:
        """Return the best plan with a scheme, if it is better than the one without.

        The fewest edits are tried first, so the first that leaves nothing wrong is the best.
        """
        best, least = made, self._cost(made)
        before = _failing(self.cases, self.view)
        found = schemes.proposals(block(self.cases, self.view, self.configs))
        different = {repr(proposal.edits): proposal for proposal in found if proposal.edits}
        served = bool(self.deciding) and not least[0]
        for proposal in sorted(different.values(), key=lambda each: each.entries):
            if served and proposal.whole:
                continue
            tried = self._tried(proposal)
            if tried is None or not _failing(self.cases, tried.view) <= before:
                continue
            cost = self._cost(tried)
            if cost < least:
                best, least = tried, cost
            if not any(cost):
                break
        return best if best is made else replace(best, unresolved=self._remedied(best))

    def _remedied(self, made: Plan) -> tuple[Unresolved, ...]:
        """Return what stays wrong, with the first release from which on the scheme is right."""
        wrong: dict[str, set[str]] = {}
        for stays in made.unresolved:
            wrong.setdefault(stays.module, set()).update(stays.releases)
        releases = tuple(dict.fromkeys(case.release for case in self.cases))
        return tuple(
            stays
            if (good := _good_from(releases, wrong[stays.module])) is None or stays.remedy
            else replace(stays, remedy=reasons.later(self.cases[0].engine.title, good))
            for stays in made.unresolved
        )

    def _cost(self, made: Plan) -> tuple[int, int]:
        """Return how many cases stay wrong: of those that decide, and of all."""
        failing = _failing(self.cases, made.view)
        decisive = sum(index in failing for index in map(self.cases.index, self.deciding))
        return decisive, len(failing)

    def _tried(self, proposal: Proposal) -> Plan | None:
        """Return the plan on top of a proposal; None: it helps nothing, or moves the trunk."""
        try:
            files = dict(edited(self.configs, proposal))
            new = self.cases[0].engine.metadata({**self.configs, **files})
        except MtpfixError:
            return None
        if new is None or not self._helps(new) or any(self._moved(new)):
            return None
        made = list_plan(_under(self.cases, new), new, self.options, edited=True)
        edits = composed(self.configs, proposal.edits, made.edits)
        return replace(made, edits=edits, gives=proposal.gives)

    def _helps(self, new: QuantView) -> bool:
        """Return whether fewer modules are wrong that no entry makes right.

        What is unquantized gets its entries afterwards, and what an entry exempts loses it.
        """
        return self._count(new, exempt=False) < self._count(self.view, exempt=True)

    def _count(self, view: QuantView, *, exempt: bool) -> int:
        """Return how many modules are wrong in all cases, with or without those exempt."""
        seen: dict[object, int] = {}
        cases = _under(self.cases, view)
        for case in cases:
            key = case.fingerprint(view)
            if key not in seen:
                reports = [r for r in case.judged(view, case.draft) if r.agrees is False]
                seen[key] = sum(_needs_scheme(r) and (exempt or not _exempt(r)) for r in reports)
        return sum(seen[case.fingerprint(view)] for case in cases)

    def _moved(self, new: QuantView) -> Iterator[str]:
        """Yield the modules of the target model that other metadata build otherwise.

        So do modules that another reader of the file treats otherwise.
        """
        seen = set()
        for case, other in zip(self.cases, _under(self.cases, new), strict=True):
            both = case.fingerprint(self.view), other.fingerprint(new)
            if both in seen:
                continue
            seen.add(both)
            old = {_place(was): _built(was) for was in case.part(self.view, "trunk")}
            becomes = {_place(r): _built(r) for r in other.judged(new, other.trunk)}
            yield from (name for name in {**old, **becomes} if old.get(name) != becomes.get(name))
        for treated in self._readings.changed(quant.listed(self.view), quant.listed(new)):
            right = treated.excluded == self._target.is_plain(treated.module)
            if self._target.is_quantizable(treated.module) and not (
                right and self.options.repair_trunk
            ):
                yield treated.module

    @cached_property
    def _target(self) -> TargetModel:
        return TargetModel(self.cases)

    @cached_property
    def _readings(self) -> Readings:
        return Readings(self.view.method, self._target.modules(), self._target.heads)


def edited(configs: Mapping[str, JsonFile], proposal: Proposal) -> Iterator[tuple[str, JsonFile]]:
    """Yield each file that a proposal edits, as it would be."""
    for name in dict.fromkeys(edit.file for edit in proposal.edits):
        raw = patch.apply(configs[name].raw, [e for e in proposal.edits if e.file == name])
        yield name, JsonFile(name, raw, strict_json.loads(raw, name))


def _good_from(releases: Sequence[str], wrong: Collection[str]) -> str | None:
    """Return the first release after all wrong ones; None: the last is wrong."""
    last = max(index for index, release in enumerate(releases) if release in wrong)
    return releases[last + 1] if last + 1 < len(releases) else None


def _needs_scheme(report: ModuleReport) -> bool:
    """Return whether no entry of a list can make a module right."""
    return report.disk.state is not State.UNQUANTIZED or report.limit is not None


def _exempt(report: ModuleReport) -> bool:
    """Return whether an entry keeps a module from its scheme."""
    return report.decision.built == "unquantized" and report.decision.because is not None


def _under(cases: Sequence[EngineCase], view: QuantView) -> tuple[EngineCase, ...]:
    """Return the cases as they are under a view, whose method may be another."""
    return tuple(case.under(view) for case in cases)


def _place(report: ModuleReport) -> str:
    """Return what tells a module from all others of its part."""
    module = report.decision.module
    return module.param or module.name


def _built(report: ModuleReport) -> tuple[object, ...]:
    decision = report.decision
    return decision.built, decision.scheme, decision.expects, decision.packing, decision.block


def _failing(cases: Sequence[EngineCase], view: QuantView) -> set[int]:
    """Return which cases build a module of the draft otherwise than it is stored."""
    wrong: dict[object, bool] = {}
    under = _under(cases, view)
    for case in under:
        key = case.fingerprint(view)
        if key not in wrong:
            wrong[key] = any(r.agrees is False for r in case.judged(view, case.draft))
    return {i for i, case in enumerate(under) if wrong[case.fingerprint(view)]}
