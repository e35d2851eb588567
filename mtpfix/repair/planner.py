"""The plan of a repair: entries of the list, and where none of them help, a scheme. Pure.

Proposals (`quant/schemes/`) say how the metadata could give the block the scheme that is on disk.
Each is tried: the metadata are read again as they would be, entries are planned on top, every
release is predicted, and what moves a module of the target model is thrown away. Of those that
are left the one counts that leaves the fewest releases wrong, and of equals the one with the
fewest edits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

from mtpfix import quant
from mtpfix.engines.base import EngineCase
from mtpfix.errors import MtpfixError
from mtpfix.model import JsonFile, ModuleReport, QuantView, State
from mtpfix.patterns import budget
from mtpfix.quant import schemes
from mtpfix.quant.schemes import Proposal
from mtpfix.repair.climb import climb
from mtpfix.repair.copies import mirrored
from mtpfix.repair.lists import list_plan
from mtpfix.repair.plan import Options, Plan, Unresolved
from mtpfix.repair.shares import block
from mtpfix.repair.stages import composed, edited
from mtpfix.repair.target_model import TargetModel
from mtpfix.repair.verdicts import Views, each, for_each, read_again, served, views_of
from mtpfix.repair.wider_targets import widened


@budget.shared()
def plan(
    cases: Sequence[EngineCase],
    view: QuantView,
    options: Options = Options(),  # noqa: B008 - a frozen value
    configs: Mapping[str, JsonFile] | None = None,
    deciding: Collection[EngineCase] = (),
    *,
    lists_only: bool = False,
) -> Plan:
    """Return the fewest edits of `view` that are right for all `cases`.

    An engine of which no case decides, and which loads nothing with its entries either, has none.

    Args:
        cases: one checkpoint under several releases and platforms; all of one family. Those of
            several engines read the same list.
        view: the metadata as it is, as the engine of the first case reads it.
        options: what may be changed.
        configs: the files that state it, by name; None: nothing but the list is changed.
        deciding: the cases that must be right before all others.
        lists_only: change nothing but the list, whatever files there are.
    """
    tried = None if lists_only else configs
    made = _for_those_that_load(cases, view, options, tried, deciding)
    return replace(made, edits=mirrored(made.edits, view, configs or {}))


def _for_those_that_load(
    cases: Sequence[EngineCase],
    view: QuantView,
    options: Options,
    configs: Mapping[str, JsonFile] | None,
    deciding: Collection[EngineCase],
) -> Plan:
    """Return the plan for the engines of which a case decides, or that load something with it."""
    made = plan_for_all(cases, view, options, configs, deciding)
    asked = {case.engine for case in deciding or cases}
    useful = served(cases, views_of(cases, view), made.views, asked)
    left = [case for case in cases if case.engine not in useful]
    if not left:
        return made
    kept = [case for case in cases if case.engine in useful]
    again = plan_for_all(kept, view, options, configs, deciding)
    return replace(again, unresolved=(*again.unresolved, *_left(left, made)))


def _left(cases: Sequence[EngineCase], made: Plan) -> Iterator[Unresolved]:
    """Yield the modules of engines that load nothing under a plan: what no entry fixes first."""
    newest = {case.engine: case for case in cases}
    for engine, case in newest.items():
        lost = any(report.agrees is False for report in case.part(case.view, "trunk"))
        known = [stays for stays in made.unresolved if stays.engine == engine.name and not lost]
        yield from known
        wrong = (m for m in case.judged(case.view, case.draft) if m.agrees is False)
        names = {m.decision.module.name for m in wrong}.difference(stays.module for stays in known)
        releases = tuple(other.release for other in cases if other.engine is engine)
        reason = (
            f"{engine.title} cannot load the target model as it is stored, whatever the entries"
            if lost
            else f"with entries for it, {engine.title} would fail all the same"
        )
        for name in sorted(names):
            yield Unresolved(name, releases, reason, engine=engine.name)


def plan_for_all(
    cases: Sequence[EngineCase],
    view: QuantView,
    options: Options,
    configs: Mapping[str, JsonFile] | None,
    deciding: Collection[EngineCase],
) -> Plan:
    """Return the same for all engines, whether they load anything or not.

    Of a checkpoint that does not exist yet, no load is foreseen.
    """
    views = views_of(cases, view)
    if configs is None or not options.repair_trunk:
        return _on_top_of(cases, views, options, configs, deciding)
    made = _with_targets(cases, views, options, configs, deciding)
    if not made.removed:
        return made
    # What an entry exempts no longer may lack a target now.
    after = edited(configs, made.edits)
    again = _with_targets(cases, made.views, options, after, deciding)
    if not again.edits or again.refused is not None:
        return made
    return replace(
        again,
        edits=composed(configs, made.edits, again.edits),
        added=(*made.added, *again.added),
        removed=(*made.removed, *again.removed),
        schemes=(*made.schemes, *again.schemes),
        by_disk=made.by_disk | again.by_disk,
        target={**made.target, **again.target},
        needed_by={**made.needed_by, **again.needed_by},
    )


def _with_targets(
    cases: Sequence[EngineCase],
    views: Views,
    options: Options,
    configs: Mapping[str, JsonFile],
    deciding: Collection[EngineCase],
) -> Plan:
    """Return the plan with the targets that modules of the target model lack."""
    wide = widened(cases, views, configs)
    made = _on_top_of(cases, wide.views, options, wide.configs, deciding)
    if not wide.edits or made.refused is not None:
        return made
    edits = composed(configs, wide.edits, made.edits)
    return replace(made, edits=edits, schemes=(*wide.schemes, *made.schemes))


def _on_top_of(
    cases: Sequence[EngineCase],
    views: Views,
    options: Options,
    configs: Mapping[str, JsonFile] | None,
    deciding: Collection[EngineCase],
) -> Plan:
    """Return the plan for metadata that say all of the target model that they can."""
    leading = {case.engine for case in deciding}
    made = list_plan(cases, views, options, leading=leading)
    failing = set() if configs is None else _failing(cases, made.views)
    if configs is None or not failing:
        return made
    trials = _Trials(tuple(cases), views, options, configs, tuple(deciding))
    return trials.better_than(made, failing)


class _Tried(NamedTuple):
    """A plan, and the cases that it leaves wrong."""

    plan: Plan
    failing: frozenset[int]


@dataclass(frozen=True)
class _Trials:
    """Tries proposals of schemes against all cases."""

    cases: tuple[EngineCase, ...]
    views: Views
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
        before = _failing(self.cases, self.views)
        found = [each for cases in self._groups() for each in self._proposals(cases)]
        different = {repr(proposal.edits): proposal for proposal in found if proposal.edits}
        start = _Tried(made, frozenset(failing))
        served = bool(self.deciding) and not self._cost(start.failing)[0]

        def tried(proposal: Proposal, _: _Tried) -> _Tried | None:
            plan = None if served and proposal.whole else self._tried(proposal)
            if plan is None:
                return None
            return _Tried(plan, frozenset(_failing(self.cases, plan.views)))

        def is_better(tried: _Tried, best: _Tried) -> bool:
            return tried.failing <= before and self._cost(tried.failing) < self._cost(best.failing)

        steps = (
            partial(tried, proposal)
            for proposal in sorted(different.values(), key=lambda each: each.entries)
        )
        return climb(start, steps, is_better, lambda best: not best.failing).plan

    def _groups(self) -> Iterator[tuple[EngineCase, ...]]:
        """Yield the cases whose names proposals are made of: of all, and of the first engine."""
        yield self.cases
        own = tuple(case for case in self.cases if case.engine is self.cases[0].engine)
        if own != self.cases:
            yield own

    def _proposals(self, cases: tuple[EngineCase, ...]) -> Iterable[Proposal]:
        return schemes.proposals(block(cases, self.views, self.configs))

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
            new = read_again(self.views, edited(self.configs, proposal.edits))
        except MtpfixError:
            return None
        if new is None or not self._helps(new) or any(self._moved(new)):
            return None
        leading = {case.engine for case in self.deciding}
        under = _under(self.cases, new)
        made = list_plan(under, new, self.options, leading=leading, edited=True)
        edits = composed(self.configs, proposal.edits, made.edits)
        return replace(made, edits=edits, schemes=proposal.schemes)

    def _helps(self, new: Views) -> bool:
        """Return whether fewer modules are wrong that no entry makes right.

        What is unquantized gets its entries afterwards, and what an entry exempts loses it.
        """
        return self._count(new, exempt=False) < self._wrong

    @cached_property
    def _wrong(self) -> int:
        """How many modules are wrong as the metadata are."""
        return self._count(self.views, exempt=True)

    def _count(self, views: Views, *, exempt: bool) -> int:
        """Return how many modules are wrong in all cases, with or without those exempt."""

        def number(case: EngineCase, view: QuantView) -> int:
            reports = [r for r in case.judged(view, case.draft) if r.agrees is False]
            return sum(_needs_scheme(r) and (exempt or not _exempt(r)) for r in reports)

        return sum(for_each(_under(self.cases, views), views, number))

    def _moved(self, new: Views) -> Iterator[str]:
        """Yield the modules of the target model that other metadata build otherwise.

        So do modules that another reader of the file treats otherwise.
        """
        lead = self.cases[0].engine
        seen: set[tuple[int, int]] = set()
        after = each(_under(self.cases, new), new, _built)
        for old, becomes in zip(self._built, after, strict=True):
            if (id(old), id(becomes)) not in seen:
                seen.add((id(old), id(becomes)))
                names = {**old, **becomes}
                yield from (name for name in names if old.get(name) != becomes.get(name))
        for treated in self._target.treated_otherwise(
            quant.listed(self.views[lead]),
            quant.listed(new[lead]),
            may_correct=self.options.repair_trunk,
        ):
            yield treated.module

    @cached_property
    def _built(self) -> list[_Built]:
        """The target model as each case builds it now; each proposal is compared with it."""
        return for_each(self.cases, self.views, _built)

    @cached_property
    def _target(self) -> TargetModel:
        return TargetModel(self.cases, self.views[self.cases[0].engine].method)


def _needs_scheme(report: ModuleReport) -> bool:
    """Return whether no entry of a list can make a module right."""
    return report.disk.state is not State.UNQUANTIZED or report.limit is not None


def _exempt(report: ModuleReport) -> bool:
    """Return whether an entry keeps a module from its scheme."""
    return report.decision.built == "unquantized" and report.decision.because is not None


def _under(cases: Sequence[EngineCase], views: Views) -> tuple[EngineCase, ...]:
    """Return the cases as they are under other metadata, whose method may be another."""
    return tuple(case.under(views[case.engine]) for case in cases)


_Built = Mapping[str, tuple[object, ...]]
"""What is built for each module of the target model that has tensors."""


def _built(case: EngineCase, view: QuantView) -> _Built:
    """Return what a case builds of the target model, whatever is on disk."""
    return {
        d.module.param or d.module.name: (d.built, d.scheme, d.expects, d.packing, d.block)
        for d in case.decide(view, case.trunk)
        if d.module.members
    }


def _failing(cases: Sequence[EngineCase], views: Views) -> set[int]:
    """Return which cases build a module of the draft otherwise than it is stored."""

    def fails(case: EngineCase, view: QuantView) -> bool:
        return any(report.agrees is False for report in case.judged(view, case.draft))

    wrong = for_each(_under(cases, views), views, fails)
    return {index for index, fails_here in enumerate(wrong) if fails_here}
