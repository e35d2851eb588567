"""The plan of a repair: entries of the list, and where none of them help, a scheme. Pure.

Proposals (`quant/schemes/`) say how the metadata could give the block the scheme that is on disk.
Each is tried: the metadata are read again as they would be, entries are planned on top, every
release is predicted, and what moves a module of the target model is thrown away. Of those that
are left the one counts that leaves the fewest releases wrong, and of equals the one with the
fewest edits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
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
from mtpfix.repair.shares import block
from mtpfix.repair.stages import composed
from mtpfix.repair.target_model import TargetModel
from mtpfix.repair.verdicts import for_each


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
    failing = set() if configs is None else _failing(cases, made.view)
    if configs is None or not failing:
        return made
    return _Trials(tuple(cases), view, options, configs, tuple(deciding)).better_than(made, failing)


@dataclass(frozen=True)
class _Trials:
    """Tries proposals of schemes against all cases."""

    cases: tuple[EngineCase, ...]
    view: QuantView
    options: Options
    configs: Mapping[str, JsonFile]
    deciding: tuple[EngineCase, ...]

    def better_than(self, made: Plan, failing: Set[int]) -> Plan:
        """Return the best plan with a scheme, if it is better than the one without.

        The fewest edits are tried first, so the first that leaves nothing wrong is the best.

        Args:
            made: the plan without a scheme.
            failing: the cases that it leaves wrong.
        """
        best, least = made, self._cost(failing)
        before = _failing(self.cases, self.view)
        found = schemes.proposals(block(self.cases, self.view, self.configs))
        different = {repr(proposal.edits): proposal for proposal in found if proposal.edits}
        served = bool(self.deciding) and not least[0]
        for proposal in sorted(different.values(), key=lambda each: each.entries):
            tried = None if served and proposal.whole else self._tried(proposal)
            left = before if tried is None else _failing(self.cases, tried.view)
            if tried is None or not left <= before:
                continue
            cost = self._cost(left)
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

    def _cost(self, failing: Set[int]) -> tuple[int, int]:
        """Return how many cases stay wrong: of those that decide, and of all."""
        return len(failing & self._decisive), len(failing)

    @cached_property
    def _decisive(self) -> frozenset[int]:
        """Which cases decide."""
        return frozenset(map(self.cases.index, self.deciding))

    def _tried(self, proposal: Proposal) -> Plan | None:
        """Return the plan on top of a proposal; None: it helps nothing, or moves the trunk."""
        try:
            texts = patch.apply_all(proposal.edits, lambda name: self.configs[name].raw)
            files = {n: JsonFile(n, raw, strict_json.loads(raw, n)) for n, raw in texts.items()}
            new = self.cases[0].engine.metadata({**self.configs, **files})
        except MtpfixError:
            return None
        if new is None or not self._helps(new) or any(self._moved(new)):
            return None
        made = list_plan(_under(self.cases, new), new, self.options, edited=True)
        edits = composed(self.configs, proposal.edits, made.edits)
        return replace(made, edits=edits, schemes=proposal.schemes)

    def _helps(self, new: QuantView) -> bool:
        """Return whether fewer modules are wrong that no entry makes right.

        What is unquantized gets its entries afterwards, and what an entry exempts loses it.
        """
        return self._count(new, exempt=False) < self._wrong

    @cached_property
    def _wrong(self) -> int:
        """How many modules are wrong as the metadata are."""
        return self._count(self.view, exempt=True)

    def _count(self, view: QuantView, *, exempt: bool) -> int:
        """Return how many modules are wrong in all cases, with or without those exempt."""

        def number(case: EngineCase) -> int:
            reports = [r for r in case.judged(view, case.draft) if r.agrees is False]
            return sum(_needs_scheme(r) and (exempt or not _exempt(r)) for r in reports)

        return sum(for_each(_under(self.cases, view), view, number))

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
        for treated in self._target.treated_otherwise(
            quant.listed(self.view), quant.listed(new), may_correct=self.options.repair_trunk
        ):
            yield treated.module

    @cached_property
    def _target(self) -> TargetModel:
        return TargetModel(self.cases, self.view.method)


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

    def fails(case: EngineCase) -> bool:
        return any(report.agrees is False for report in case.judged(view, case.draft))

    wrong = for_each(_under(cases, view), view, fails)
    return {index for index, fails_here in enumerate(wrong) if fails_here}
