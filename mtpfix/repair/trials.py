"""What changes of a list of entries would do: each is judged for all cases. Pure.

Every change is predicted again, for every selected release and platform, and asked what it leaves
wrong in the draft, what it moves in the target model, and whether its entries name more than the
MTP block (`exact.py`) or change what another reader of the file does (`readers.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from mtpfix import quant
from mtpfix.engines.base import Engine, EngineCase
from mtpfix.model import Entry, Module, ModuleReport, QuantView, State
from mtpfix.patterns import Listed, PatternError
from mtpfix.quant import Change
from mtpfix.quant.spelling import Spelling
from mtpfix.repair.candidates import Candidates
from mtpfix.repair.plan import Options
from mtpfix.repair.target_model import TargetModel
from mtpfix.repair.verdicts import Views, for_each

Key = tuple[str, str, str, str]
"""Engine, release, platform and parameter path of a module."""


class Trials:
    """What changes of one list of entries do to a draft and its target model, in all cases.

    Args:
        cases: one checkpoint under several releases and platforms.
        views: the metadata as they are, as each engine reads them.
        options: what may be changed.
        leading: the engines that the list is made for where it cannot be right for all; none: all.
        edited: whether the metadata are edited already.

    Attributes:
        engines: those of the cases, in their order; the first says how the list is written.
        view: the metadata as they are, as the first engine reads them.
        candidates: for each engine, the entries that could exempt its draft.
        defaults: what is said of the target model with the first entry of a list: it was so before.
        for_target: new entry -> how many modules of the target model it is written for.
    """

    def __init__(
        self,
        cases: tuple[EngineCase, ...],
        views: Views,
        options: Options,
        leading: Collection[Engine] = (),
        *,
        edited: bool = False,
    ) -> None:
        self.cases = cases
        self.options = options
        self.engines = tuple(dict.fromkeys(case.engine for case in cases))
        self.leading = tuple(e for e in self.engines if e in leading) or self.engines
        self.view = views[self.engines[0]]
        self._read = views
        self._edited = edited
        self._views: dict[tuple[Engine, Change], QuantView] = {}
        self._trunks: dict[int, tuple[ModuleReport, ...]] = {}
        self._judged: dict[Change, list[tuple[ModuleReport, ...]]] = {}
        self._wrong: dict[Change, list[tuple[Key, ModuleReport]]] = {}
        self._moves: dict[Change, _Moves] = {}
        self._elsewhere: dict[Change, list[str]] = {}
        self.candidates = {engine: self._candidates_for(engine) for engine in self.engines}
        self._target = TargetModel(cases, self.view.method)
        self._stated: set[str] = set()
        self.for_target: dict[str, int] = {}
        self.defaults = self._target.kept_heads if quant.listed(self.view) is None else ()

    def _candidates_for(self, engine: Engine) -> Candidates:
        both = zip(self.cases, self.draft(Change()), strict=True)
        own = [(case, reports) for case, reports in both if case.engine is engine]
        return Candidates([c for c, _ in own], [reports for _, reports in own], self.cases)

    @property
    def spelling(self) -> Spelling:
        """How entries are written."""
        return self.cases[0].spelling

    # --- the metadata --------------------------------------------------------

    def changed(self, case: EngineCase, change: Change) -> QuantView:
        """Return the metadata after `change`, as the engine of a case reads it."""
        key = case.engine, change
        if key not in self._views:
            self._views[key] = quant.changed(self._read[case.engine], change)
        return self._views[key]

    def views(self, change: Change) -> Views:
        """Return the metadata after `change`, as each engine reads them."""
        return {case.engine: self.changed(case, change) for case in self.cases}

    def on_top_of(self, change: Change) -> Trials:
        """Return the same for metadata that are changed already."""
        return Trials(self.cases, self.views(change), self.options, self.leading)

    # --- several engines -----------------------------------------------------

    @property
    def _several(self) -> bool:
        return len(self.engines) > 1

    def for_leading(self) -> Trials | None:
        """Return the same for the leading engines alone; None where there are no others."""
        if self.leading == self.engines:
            return None
        own = tuple(case for case in self.cases if case.engine in self.leading)
        return Trials(own, self._read, self.options, edited=self._edited)

    def leads(self, keys: Collection[Key]) -> set[Key]:
        """Return what is of a leading engine."""
        if self.leading == self.engines:
            return set(keys)
        names = {engine.name for engine in self.leading}
        return {key for key in keys if key[0] in names}

    def named(self, keys: Iterable[Key]) -> str:
        """Return the releases of some modules, with their engine."""
        found: dict[str, set[str]] = {}
        for engine, release, _, _ in keys:
            found.setdefault(engine, set()).add(release)
        titles = {engine.name: engine.title for engine in self.engines}
        return " and ".join(f"{titles[e]} {', '.join(sorted(r))}" for e, r in found.items())

    def needed_by(self, change: Change) -> dict[str, tuple[str, ...]]:
        """Return each new entry with the engines whose drafts need it; one engine: nothing."""
        if not self._several:
            return {}
        return {text: tuple(self._needing(text, change)) for text in change.add}

    def _needing(self, text: str, change: Change) -> Iterator[str]:
        """Yield the engines that build a module of the draft otherwise without an entry."""
        rest = Change(change.remove, tuple(other for other in change.add if other != text))
        keys = self.wrong(rest) ^ self.wrong(change) | self.broken(rest) ^ self.broken(change)
        keys |= self.healed(rest) ^ self.healed(change)
        names = {key[0] for key in keys}
        yield from (engine.title for engine in self.engines if engine.name in names)

    # --- the draft -----------------------------------------------------------

    def draft(self, change: Change) -> list[tuple[ModuleReport, ...]]:
        """Return what each case makes of its draft modules after `change`."""
        if change not in self._judged:
            self._judged[change] = for_each(self.cases, self.views(change), _draft)
        return self._judged[change]

    def wrong(self, change: Change) -> set[Key]:
        """Return what a list could fix in the draft and `change` leaves wrong.

        A head that is built wrong and then replaced is no fault; where the block needs an entry
        anyway, it gets its own.
        """
        found = {key for key, report in self._amiss(change) if mendable(report)}
        return found | self._replaced(change) if self._faulty else found

    @cached_property
    def _faulty(self) -> bool:
        """Whether the metadata as they are leave anything in the draft wrong."""
        return self._edited or any(mendable(report) for _, report in self._amiss(Change()))

    def _replaced(self, change: Change) -> set[Key]:
        """What `change` leaves to be replaced by the target model's own."""
        return {
            key_of(case, report)
            for case, reports in zip(self.cases, self.draft(change), strict=True)
            for report in reports
            if report.replaced
        }

    def broken(self, change: Change) -> set[Key]:
        """Return everything in the draft that `change` leaves wrong."""
        return {key for key, _ in self._amiss(change)}

    def _amiss(self, change: Change) -> list[tuple[Key, ModuleReport]]:
        if change not in self._wrong:
            self._wrong[change] = [
                (key_of(case, report), report)
                for case, reports in zip(self.cases, self.draft(change), strict=True)
                for report in reports
                if report.agrees is False and report.limit is None
            ]
        return self._wrong[change]

    def helps(self, change: Change) -> bool:
        """Whether `change` makes anything right: in the draft, or in the trunk if allowed."""
        before, after = self.wrong(Change()), self.wrong(change)
        if after < before or self.leads(after) < self.leads(before):
            return True
        return self.options.repair_trunk and bool(self.healed(change))

    # --- the target model ----------------------------------------------------

    @property
    def trunk(self) -> list[tuple[ModuleReport, ...]]:
        """For each case, the reports of the target model's modules as the metadata are."""
        return for_each(self.cases, self.views(Change()), lambda case, _: self._trunk(case))

    def _trunk(self, case: EngineCase) -> tuple[ModuleReport, ...]:
        """The reports of one case: of a target model they are many, and few are ever needed."""
        if id(case) not in self._trunks:
            self._trunks[id(case)] = case.part(self.changed(case, Change()), "trunk")
        return self._trunks[id(case)]

    def moved(self, change: Change) -> list[str]:
        """Return trunk modules whose decision `change` alters, unless the user lets it fix them.

        Of those that another reader of the file treats otherwise it is said who it is.
        """
        moves = self._moved(change)
        away = moves.away if self.options.repair_trunk else moves.away + list(moves.healed.values())
        return away or self._moved_elsewhere(change)

    def healed(self, change: Change) -> frozenset[Key]:
        """Return the trunk modules that `change` moves to what is on disk."""
        return frozenset(self._moved(change).healed)

    def _moved(self, change: Change) -> _Moves:
        """Trunk modules that `change` moves, to what is on disk or elsewhere."""
        if change not in self._moves:
            moves = for_each(
                self.cases, self.views(change), lambda case, _: self._moved_in(case, change)
            )
            each = list(zip(self.cases, moves, strict=True))
            self._moves[change] = _Moves(
                list(dict.fromkeys(name for _, one in each for name in one.away)),
                {
                    (case.engine.name, case.release, case.platform, param): said
                    for case, one in each
                    for (*_, param), said in one.healed.items()
                },
            )
        return self._moves[change]

    def _moved_in(self, case: EngineCase, change: Change) -> _Moves:
        """Trunk modules that `change` moves in one case."""
        moves = _Moves([], {})
        # Then vLLM builds no layer at all, or all of them as if there were no entries.
        view = self._read[case.engine]
        unreadable, unread = view.null, view.unread is not None
        # What another engine reads in headers is news to this one.
        told = self._reads_headers() and case.engine.header_list(view) is None
        for old, new in _paired(case, self.changed(case, change), self._touched(case, change)):
            right = old.agrees is False and new.agrees is True
            spoke = unread or told or (unreadable and old.decision.built == "error")
            if _same(old, new) or (right and spoke):
                continue
            if right:
                moves.healed[key_of(case, old)] = self._said(case, old)
            else:
                moves.away.append(self._said(case, old))
        return moves

    def _said(self, case: EngineCase, report: ModuleReport) -> str:
        """Return the name of a module, with who builds it where several engines are asked."""
        said = f"`{report.decision.module.name}` of the target model"
        return f"{said}, as {case.engine.title} builds it" if self._several else said

    def _touched(self, case: EngineCase, change: Change) -> Sequence[ModuleReport]:
        """Reports of the modules that an entry which comes or goes matches; others stay put."""
        old, changed = self.changed(case, Change()), self.changed(case, change)
        if case.engine.header_list(old) != case.engine.header_list(changed):
            return self._trunk(case)
        gone = [old.ignore[index] for index in change.remove]
        if old.unread is not None and change != Change():
            gone = list(old.ignore)
        new = [Entry(text, "", "") for text in change.add]
        view = replace(old, ignore=(*gone, *new), groups=(), unread=None)
        entries = case.valid(view, case.in_force(view, "trunk").ignore)
        pairs = zip(case.trunk, case.trunk_asked, strict=True)
        hit = {module: None for module, asked in pairs if _hit(entries, asked)}
        broken = old.null or any(e.text.startswith("re:") for e in gone)
        if not broken and not _bound(case.trunk):
            return case.judged(old, tuple(hit))
        return [
            report
            for report in self._trunk(case)
            if report.decision.module in hit
            or (broken and report.decision.built in ("error", "unknown"))
        ]

    def _moved_elsewhere(self, change: Change) -> list[str]:
        """Modules of the target model that another reader of the file treats otherwise."""
        if change not in self._elsewhere:
            new = quant.listed(quant.changed(self.view, change))
            # What vLLM read in headers, or may be corrected, becomes right for others as well.
            may_correct = self.options.repair_trunk or self._reads_headers()
            self._elsewhere[change] = [
                f"`{treated.module}` of the target model, as {treated.reader} reads the file"
                for treated in self._target.treated_otherwise(
                    quant.listed(self.view), new, may_correct=may_correct
                )
            ]
        return self._elsewhere[change]

    def _reads_headers(self) -> bool:
        return any(engine.header_list(self._read[engine]) is not None for engine in self.engines)

    @property
    def quantized(self) -> frozenset[str]:
        """The modules of the target model that are quantized on disk, by their names there."""
        return frozenset(self._target.quantized)

    # --- entries -------------------------------------------------------------

    def state(self, entries: Iterable[str]) -> None:
        """Take entries for what the metadata says already, in another place or way."""
        self._stated.update(entries)

    def wide(self, change: Change) -> list[str]:
        """Return new entries that name more than the MTP block.

        A pattern that is narrowed takes the place of a wider one, and what was read elsewhere, or
        done without a list, is said of the target model: such entries change nothing for it.
        """
        known = self._stated.union(self.defaults)
        return [text for text in change.add if text not in known and not self.allowed([text])]

    def allowed(self, entries: Iterable[str]) -> bool:
        """Whether all of them name the MTP block and nothing wider, whoever reads them."""
        empty = self.options.chosen_releases
        every = self.candidates.values()
        return all(each.allowed(entry, empty=empty) for entry in entries for each in every)

    def wanted(self, entries: Iterable[str], change: Change) -> bool:
        """Whether other readers of the file need `entries`: names on disk not yet exempt."""
        if self.options.engine_names_only:
            return False
        case = self._newest
        view = self.changed(case, Change())
        have = case.valid(view, self.changed(case, change).ignore)
        new = case.valid(view, (Entry(text, "", "") for text in entries))
        on_disk = self.candidates[case.engine].names_on_disk()
        try:
            return any(new.first(n) is not None and have.first(n) is None for n in on_disk)
        except PatternError:  # MTP404 says which entry is too slow
            return False

    def fits(self, names: Iterable[str], change: Change) -> bool:
        """Whether an entry fits each of some names on disk, as other readers take the list."""
        case = self._newest
        have = case.valid(self.changed(case, Change()), self.changed(case, change).ignore)
        try:
            return all(have.first(name) is not None for name in names)
        except PatternError:  # MTP404 says which entry is too slow
            return True

    def hits(self, entry: str, names: Iterable[str]) -> bool:
        """Whether an entry fits one of some names."""
        case = self._newest
        return _hit(case.valid(self.view, [Entry(entry, "", "")]), names)

    def by_disk(self, change: Change) -> frozenset[str]:
        """Return the new entries that fit names of the MTP block on disk."""
        case = self._newest
        members = {name for reports in self.draft(change) for r in reports for name in r.members}

        def fits(text: str) -> bool:
            listed = case.valid(self.changed(case, Change()), [Entry(text, "", "")])
            return any(listed.first(name) is not None for name in members)

        return frozenset(filter(fits, change.add))

    @property
    def _newest(self) -> EngineCase:
        """The newest release of the first engine."""
        return next(case for case in reversed(self.cases) if case.engine is self.engines[0])


def mendable(report: ModuleReport) -> bool:
    """Whether an ignore list could make the module right at all."""
    return report.disk.state is State.UNQUANTIZED or lost_scheme(report)


def lost_scheme(report: ModuleReport) -> bool:
    """Whether an entry exempts a module that is quantized on disk, or only its shards."""
    decision = report.decision
    exempt = decision.built == "unquantized" or decision.halved
    hit = exempt and decision.because is not None
    return hit and report.disk.state is State.QUANTIZED


def key_of(case: EngineCase, report: ModuleReport) -> Key:
    """Return what tells a module of one case from all others."""
    module = report.decision.module
    return case.engine.name, case.release, case.platform, module.param


class _Moves(NamedTuple):
    """Trunk modules whose decision a change alters."""

    away: list[str]
    """From what is on disk, or from one fault to another: their names."""
    healed: dict[Key, str]
    """To what is on disk: what tells each from all others, and its name."""


def _draft(case: EngineCase, view: QuantView) -> tuple[ModuleReport, ...]:
    return case.judged(view, case.draft)


def _paired(
    case: EngineCase, view: QuantView, before: Sequence[ModuleReport]
) -> Iterator[tuple[ModuleReport, ModuleReport]]:
    """Each report of the trunk with what `view` makes of the same module.

    Where a module hangs on the decisions about others, another may take its weights.
    """
    modules = [report.decision.module for report in before]
    after = case.judged(view, case.trunk if _bound(modules) else modules)
    same = {report.decision.module: report for report in after}
    holder = {name: report for report in after for name in report.decision.module.members}
    for old, module in zip(before, modules, strict=True):
        yield old, same.get(module) or holder[module.members[0]]


def _bound(modules: Iterable[Module]) -> bool:
    """Whether one of them hangs on what is decided about others."""
    return any(module.hangs_on for module in modules)


def _hit(entries: Listed, names: Iterable[str]) -> bool:
    """Whether an entry may fit a name: also where a faulty pattern hides whether it does."""
    try:
        return any(map(entries.first, names))
    except PatternError:
        return True


def _same(old: ModuleReport, new: ModuleReport) -> bool:
    return _built(old) == _built(new)


def _built(report: ModuleReport) -> tuple[object, ...]:
    return report.decision.built, report.decision.scheme, report.decision.packing
