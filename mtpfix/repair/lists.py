"""From a judged checkpoint to the fewest entries of its list that make it right. Pure.

Every candidate is predicted again, for every selected release and platform,
before it counts: a plan that moves a trunk module, or leaves a module wrong that
an entry could reach, is never handed out. Nor is one with an entry that names more
than the MTP block (`exact.py`), or that changes what another reader of the file does
to the target model (`readers.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from mtpfix import quant
from mtpfix.engines.base import Engine, EngineCase
from mtpfix.model import Entry, ModuleReport, QuantView, State
from mtpfix.patterns import Listed, PatternError, budget
from mtpfix.quant import Change
from mtpfix.quant.spelling import Spelling
from mtpfix.repair import reasons
from mtpfix.repair.candidates import Candidates, narrowed
from mtpfix.repair.exact import fits_empty_name
from mtpfix.repair.headers import stand_ins
from mtpfix.repair.plan import Options, Plan, Unresolved
from mtpfix.repair.target_model import TargetModel
from mtpfix.repair.verdicts import Views, distinct


@budget.shared()
def list_plan(
    cases: Sequence[EngineCase],
    views: Views,
    options: Options,
    *,
    leading: Collection[Engine] = (),
    edited: bool = False,
) -> Plan:
    """The fewest entries that are right for all `cases` (releases and platforms).

    Args:
        cases: one checkpoint under several releases; all of one family. Engines that read the same
            list may be planned for together: what is edited is the metadata as the first reads it.
        views: the metadata as they are, as each engine reads them.
        options: what may be changed.
        leading: the engines that the list is made for where it cannot be right for all; none: all.
        edited: whether the metadata are edited already: the block needs entries then, if only for
            a head that is built wrong and replaced.
    """
    different = distinct(cases, views)
    planner = _Planner(different, views, options, leading, edited=edited)
    read = cases[0].engine.header_list(planner.view)
    if read is not None and read.lists == "unquantized":
        return _instead_of_headers(planner)
    return _with_list(planner)


def _instead_of_headers(planner: _Planner) -> Plan:
    """The plan where a first entry stops the engine from reading headers: the list says it all."""
    view, none = planner.view, Change()
    hidden = planner.hidden()
    if not planner.wrong(none) and not hidden:
        return planner.unchanged()
    refused = None
    for base in stand_ins(planner.cases[0], view, hidden):
        made = _with_list(planner.on_top_of(Change(add=base)))
        whole = Change(add=tuple(entry.text for entry in made.view.ignore))
        planner.state(base)
        refused = made.refused or _refusal(planner, whole)
        if refused is None and planner.helps(whole):
            return Plan(
                view=quant.changed(view, whole),
                edits=quant.edit(view, whole),
                added=whole.add,
                unresolved=made.unresolved,
                headers=base,
                by_disk=planner.by_disk(whole),
                views=planner.views(whole),
                needed_by=made.needed_by,
            )
    return planner.unchanged(refused)


def _with_list(planner: _Planner) -> Plan:
    """The plan where nothing but the entries of the metadata counts."""
    view, none = planner.view, Change()
    starts = planner.starts()
    if starts == [none] and not planner.wrong(none):
        return planner.unchanged()
    changes = [*_changes(planner, starts)]
    refusals = [_refusal(planner, change) for change in changes]
    if all(refusals) and (alone := planner.for_leading()) is not None:
        others = [*_changes(alone, alone.starts())]
        changes += others
        refusals += [_refusal(alone, c) or _refusal(planner, c, drafts=False) for c in others]
    if all(refusals):
        return planner.unchanged(refusals[len(starts) - 1])
    change = next(c for c, refused in zip(changes, refusals, strict=True) if refused is None)
    if not planner.helps(change):
        return planner.unchanged()
    return Plan(
        view=quant.changed(view, change),
        edits=quant.edit(view, change),
        added=change.add,
        removed=tuple(view.ignore[index].text for index in change.remove),
        unresolved=planner.unresolved(change),
        defaults=tuple(text for text in change.add if text in planner.defaults),
        by_disk=planner.by_disk(change),
        nameless=frozenset(e for e in change.add if fits_empty_name(e, planner.spelling)),
        views=planner.views(change),
        needed_by=planner.needed_by(change),
    )


def _changes(planner: _Planner, starts: Iterable[Change]) -> Iterator[Change]:
    """Yield what each start comes to."""
    for start in starts:
        change = planner.without_vain_entries(planner.reduced(planner.extended(start)))
        yield planner.without_pointless_rules(change)


def _refusal(planner: _Planner, change: Change, *, drafts: bool = True) -> str | None:
    """Why `change` must not be made, or None.

    Args:
        planner: tries it.
        change: the change.
        drafts: whether it must break no module of the leading engines' drafts either.
    """
    if moved := planner.moved(change):
        return f"every list that fixes the MTP block would change {moved[0]}"
    if wide := planner.wide(change):
        return f"a needed entry would match more than the MTP block: {wide[0]}"
    harmed = planner.leads(planner.broken(change) - planner.broken(Change()))
    if drafts and harmed:
        where = planner.named(harmed)
        return f"no list fixes the MTP block without breaking other modules on {where}"
    return None


_Key = tuple[str, str, str, str]
"""Engine, release, platform and parameter path of a module."""


def _key(case: EngineCase, report: ModuleReport) -> _Key:
    module = report.decision.module
    return case.engine.name, case.release, case.platform, module.param


def _paired(
    case: EngineCase, view: QuantView, before: Sequence[ModuleReport]
) -> Iterator[tuple[ModuleReport, ModuleReport]]:
    """Each report of the trunk with what `view` makes of the same module.

    Where a module hangs on the decisions about others, another may take its weights.
    """
    modules = [report.decision.module for report in before]
    bound = any(module.if_quantized or module.unless_quantized for module in modules)
    after = case.judged(view, case.trunk if bound else modules)
    same = {report.decision.module: report for report in after}
    holder = {name: report for report in after for name in report.decision.module.members}
    for old, module in zip(before, modules, strict=True):
        yield old, same.get(module) or holder[module.members[0]]


class _Moves(NamedTuple):
    """Names of trunk modules whose decision a change alters."""

    away: list[str]
    """From what is on disk, or from one fault to another."""
    healed: list[str]
    """To what is on disk."""


class _Planner:
    """Tries changes of one ignore list against all cases."""

    def __init__(
        self,
        cases: tuple[EngineCase, ...],
        views: Views,
        options: Options,
        leading: Collection[Engine] = (),
        *,
        edited: bool = False,
    ) -> None:
        self.cases = self._cases = cases
        self._read = views
        self._engines = tuple(dict.fromkeys(case.engine for case in cases))
        self._leading = tuple(e for e in self._engines if e in leading) or self._engines
        self.view = views[self._engines[0]]
        self._edited = edited
        self._options = options
        self._views: dict[tuple[Engine, Change], QuantView] = {}
        self._trunk = [case.part(self._changed(case, Change()), "trunk") for case in cases]
        self._asked = [
            [case.asked(report.decision.module) for report in reports]
            for case, reports in zip(cases, self._trunk, strict=True)
        ]
        self._judged = {
            Change(): [case.part(self._changed(case, Change()), "draft") for case in cases]
        }
        self._moves: dict[Change, _Moves] = {}
        self._elsewhere: dict[Change, list[str]] = {}
        self._shared: dict[_Key, str] = {}
        self._vain: set[Engine] = set()
        self._candidates = {engine: self._candidates_for(engine) for engine in self._engines}
        self._target = TargetModel(cases, self.view.method)
        self._stated: set[str] = set()
        self.defaults = self._target.kept_heads if quant.listed(self.view) is None else ()
        """What is said of the target model with the first entry of a list: it was so before."""

    def _candidates_for(self, engine: Engine) -> Candidates:
        both = zip(self._cases, self._draft(Change()), strict=True)
        own = [(case, reports) for case, reports in both if case.engine is engine]
        return Candidates([c for c, _ in own], [reports for _, reports in own], self._cases)

    @property
    def spelling(self) -> Spelling:
        """How entries are written."""
        return self._cases[0].spelling

    # --- several engines -----------------------------------------------------

    @property
    def _several(self) -> bool:
        return len(self._engines) > 1

    def for_leading(self) -> _Planner | None:
        """Return the same for the leading engines alone; None where there are no others."""
        if self._leading == self._engines:
            return None
        own = tuple(case for case in self._cases if case.engine in self._leading)
        return _Planner(own, self._read, self._options, edited=self._edited)

    def on_top_of(self, change: Change) -> _Planner:
        """Return the same for metadata that are changed already."""
        return _Planner(self._cases, self.views(change), self._options, self._leading)

    def views(self, change: Change) -> Views:
        """Return the metadata after `change`, as each engine reads them."""
        return {case.engine: self._changed(case, change) for case in self._cases}

    def unchanged(self, refused: str | None = None) -> Plan:
        """Return the plan that changes nothing."""
        none = Change()
        return Plan(
            self.view,
            unresolved=self.unresolved(none),
            refused=refused,
            views=self.views(none),
        )

    def leads(self, keys: Collection[_Key]) -> set[_Key]:
        """Return what is of a leading engine."""
        if self._leading == self._engines:
            return set(keys)
        names = {engine.name for engine in self._leading}
        return {key for key in keys if key[0] in names}

    def named(self, keys: Iterable[_Key]) -> str:
        """Return the releases of some modules, with their engine."""
        found: dict[str, set[str]] = {}
        for engine, release, _, _ in keys:
            found.setdefault(engine, set()).add(release)
        titles = {engine.name: engine.title for engine in self._engines}
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
        names = {key[0] for key in keys}
        yield from (engine.title for engine in self._engines if engine.name in names)

    def _reads_headers(self) -> bool:
        return any(engine.header_list(self._read[engine]) is not None for engine in self._engines)

    # --- judging a change ----------------------------------------------------

    def _draft(self, change: Change) -> list[tuple[ModuleReport, ...]]:
        if change not in self._judged:
            self._judged[change] = [
                case.judged(self._changed(case, change), case.draft) for case in self._cases
            ]
        return self._judged[change]

    def _changed(self, case: EngineCase, change: Change) -> QuantView:
        """Return the metadata after `change`, as the engine of a case reads it."""
        key = case.engine, change
        if key not in self._views:
            self._views[key] = quant.changed(self._read[case.engine], change)
        return self._views[key]

    def wrong(self, change: Change) -> set[_Key]:
        """What a list could fix in the draft and `change` leaves wrong.

        A head that is built wrong and then replaced is no fault; where the block needs an entry
        anyway, it gets its own.
        """
        found = {key for key, report in self._amiss(change) if _mendable(report)}
        return found | self._replaced(change) if self._faulty else found

    @cached_property
    def _faulty(self) -> bool:
        """Whether the metadata as they are leave anything in the draft wrong."""
        return self._edited or any(_mendable(report) for _, report in self._amiss(Change()))

    def _replaced(self, change: Change) -> set[_Key]:
        """What `change` leaves to be replaced by the target model's own."""
        return {
            _key(case, report)
            for case, reports in zip(self._cases, self._draft(change), strict=True)
            for report in reports
            if report.replaced
        }

    def broken(self, change: Change) -> set[_Key]:
        """Everything in the draft that `change` leaves wrong."""
        return {key for key, _ in self._amiss(change)}

    def _amiss(self, change: Change) -> Iterator[tuple[_Key, ModuleReport]]:
        for case, reports in zip(self._cases, self._draft(change), strict=True):
            for report in reports:
                if report.agrees is False and report.limit is None:
                    yield _key(case, report), report

    def moved(self, change: Change) -> list[str]:
        """Trunk modules whose decision `change` alters, unless the user lets it fix them.

        Of those that another reader of the file treats otherwise it is said who it is.
        """
        moves = self._moved(change)
        away = moves.away if self._options.repair_trunk else moves.away + moves.healed
        return away or self._moved_elsewhere(change)

    def _moved_elsewhere(self, change: Change) -> list[str]:
        """Modules of the target model that another reader of the file treats otherwise."""
        if change not in self._elsewhere:
            new = quant.listed(quant.changed(self.view, change))
            # What vLLM read in headers, or may be corrected, becomes right for others as well.
            may_correct = self._options.repair_trunk or self._reads_headers()
            self._elsewhere[change] = [
                f"`{treated.module}` of the target model, as {treated.reader} reads the file"
                for treated in self._target.treated_otherwise(
                    quant.listed(self.view), new, may_correct=may_correct
                )
            ]
        return self._elsewhere[change]

    def state(self, entries: Iterable[str]) -> None:
        """Take entries for what the metadata says already, in another place or way."""
        self._stated.update(entries)

    def wide(self, change: Change) -> list[str]:
        """New entries that name more than the MTP block.

        A pattern that is narrowed takes the place of a wider one, and what was read elsewhere, or
        done without a list, is said of the target model: such entries change nothing for it.
        """
        known = self._stated.union(self.defaults)
        return [text for text in change.add if text not in known and not self._allowed([text])]

    def _moved(self, change: Change) -> _Moves:
        """Trunk modules that `change` moves, to what is on disk or elsewhere."""
        if change in self._moves:
            return self._moves[change]
        away: dict[str, None] = {}
        healed: dict[str, None] = {}
        for number, case in enumerate(self._cases):
            # Then vLLM builds no layer at all, or all of them as if there were no entries.
            view = self._read[case.engine]
            unreadable, unread = view.null, view.unread is not None
            # What another engine reads in headers is news to this one.
            told = self._reads_headers() and case.engine.header_list(view) is None
            for old, new in _paired(
                case, self._changed(case, change), self._touched(number, change)
            ):
                right = old.agrees is False and new.agrees is True
                spoke = unread or told or (unreadable and old.decision.built == "error")
                if not _same(old, new) and not (right and spoke):
                    (healed if right else away)[self._said(case, old)] = None
        self._moves[change] = _Moves(list(away), list(healed))
        return self._moves[change]

    def _said(self, case: EngineCase, report: ModuleReport) -> str:
        """Return the name of a module, with who builds it where several engines are asked."""
        said = f"`{report.decision.module.name}` of the target model"
        return f"{said}, as {case.engine.title} builds it" if self._several else said

    def _touched(self, number: int, change: Change) -> list[ModuleReport]:
        """Reports of the modules that an entry which comes or goes matches; others stay put."""
        case = self._cases[number]
        old, changed = self._changed(case, Change()), self._changed(case, change)
        if case.engine.header_list(old) != case.engine.header_list(changed):
            return list(self._trunk[number])
        gone = [old.ignore[index] for index in change.remove]
        if old.unread is not None and change != Change():
            gone = list(old.ignore)
        new = [Entry(text, "", "") for text in change.add]
        view = replace(old, ignore=(*gone, *new), groups=(), unread=None)
        entries = case.valid(view, case.in_force(view, "trunk").ignore)
        broken = old.null or any(e.text.startswith("re:") for e in gone)
        return [
            report
            for report, asked in zip(self._trunk[number], self._asked[number], strict=True)
            if (broken and report.decision.built in ("error", "unknown")) or _hit(entries, asked)
        ]

    def unresolved(self, change: Change) -> tuple[Unresolved, ...]:
        """What stays wrong after `change`, with the releases and the reason."""
        releases: dict[tuple[str, str, str, str | None], dict[str, None]] = {}
        for case, reports in zip(self._cases, self._draft(change), strict=True):
            for report in reports:
                if report.agrees is False:
                    reason, remedy = self._reason(case, report)
                    key = (case.engine.name, report.decision.module.name, reason, remedy)
                    releases.setdefault(key, {})[case.release] = None
        left = [
            Unresolved(name, tuple(found), reason, remedy, engine)
            for (engine, name, reason, remedy), found in releases.items()
        ]
        return tuple(sorted(left, key=lambda stays: reasons.VAIN in stays.reason))

    def _reason(self, case: EngineCase, report: ModuleReport) -> tuple[str, str | None]:
        """Why a module stays wrong, and what the user can do about it."""
        reason, remedy = self._own_reason(case, report)
        if case.engine in self._leading:
            return reason, remedy
        return reasons.not_in_one_list(case.engine, reason, remedy)

    def _own_reason(self, case: EngineCase, report: ModuleReport) -> tuple[str, str | None]:
        """Return the same, whichever engine leads."""
        module = report.decision.module
        servable = self._candidates[case.engine].empty_entry is not None
        written = servable and self._options.chosen_releases
        nameless = not module.name and report.disk.state is State.UNQUANTIZED
        if nameless and not written and report.limit is None:
            return reasons.nameless(case, module, servable=servable)
        shared = self._shared.get(_key(case, report))
        if case.engine in self._vain and shared is None and _mendable(report):
            return reasons.VAIN, None
        return reasons.reason(report, case.engine.title, shared), None

    # --- taking away ---------------------------------------------------------

    def starts(self) -> list[Change]:
        """Ways to deal with entries that took the scheme from quantized modules.

        Without the entry altogether, which is right where it was meant for the MTP block
        alone; else narrowed, so that it spares those modules and still hits all others.
        Entries may overlap: what one no longer exempts, the next one may.
        """
        gone = Change()
        victims: dict[Entry, set[str]] = {}
        while found := self._blamed_entries(gone):
            for entry, names in found.items():
                victims.setdefault(entry, set()).update(names)
            gone = Change(tuple(sorted(self.view.ignore.index(entry) for entry in victims)))
        if not victims:
            return [gone]
        everything = set().union(*victims.values())
        mark = self.spelling.mark
        patterns = [] if mark is None else [e.text for e in victims if e.text.startswith(mark)]
        narrow = tuple(narrowed(text, everything, mark or "") for text in dict.fromkeys(patterns))
        self.state(narrow)
        return [gone, Change(gone.remove, narrow)] if narrow else [gone]

    def _blamed_entries(self, change: Change) -> dict[Entry, set[str]]:
        """Entries that still take the scheme from modules under `change`, and the names hit."""
        victims: dict[Entry, set[str]] = {}
        for case, report in self._victims(change):
            entry, module = report.decision.because, report.decision.module
            if entry is not None and entry.pointer.startswith(f"{self.view.ignore_pointer}/"):
                asked = case.asked(module)
                probed = module.kind == "experts" and module.name not in asked
                hit = {f"{module.name}."} if probed else asked
                victims.setdefault(self._written(entry, change), set()).update(hit)
        return victims

    def hidden(self) -> frozenset[str]:
        """Names in headers that take the scheme from quantized trunk modules, if they may not."""
        if not self._options.repair_trunk:
            return frozenset()
        victims = (
            r.decision.because for reports in self._trunk for r in reports if _lost_scheme(r)
        )
        return frozenset(e.spelling for e in victims if e is not None and e.derived)

    def helps(self, change: Change) -> bool:
        """Whether `change` makes anything right: in the draft, or in the trunk if allowed."""
        before, after = self.wrong(Change()), self.wrong(change)
        if after < before or self.leads(after) < self.leads(before):
            return True
        return self._options.repair_trunk and bool(self._moved(change).healed)

    def _victims(self, change: Change) -> Iterator[tuple[EngineCase, ModuleReport]]:
        groups = [self._draft(change)]
        if self._options.repair_trunk:
            groups.append([c.part(self._changed(c, change), "trunk") for c in self._cases])
        for reports in groups:
            for case, group in zip(self._cases, reports, strict=True):
                yield from ((case, report) for report in group if _lost_scheme(report))

    def _written(self, entry: Entry, change: Change) -> Entry:
        """The entry of the file that an entry of the changed list was."""
        if self.view.keyed:
            return next(e for e in self.view.ignore if e.pointer == entry.pointer)
        index = int(entry.pointer.rpartition("/")[2])
        kept = [e for i, e in enumerate(self.view.ignore) if i not in change.remove]
        return kept[index]

    # --- adding --------------------------------------------------------------

    def extended(self, change: Change) -> Change:
        """Adds entries until every unquantized MTP module is exempt, as far as entries reach.

        Where that is not done for the leading engines without harm to the draft of another, the
        list is theirs.
        """
        change = self._extended(change, self._harmless)
        if self._leading != self._engines and self.leads(self.wrong(change)):
            change = self._extended(change, self._harmless_for_leading)
        return change

    def _harmless(self, trial: Change, change: Change) -> bool:
        return self.broken(trial) <= self.broken(change)

    def _harmless_for_leading(self, trial: Change, change: Change) -> bool:
        helps = self.leads(self.wrong(trial)) < self.leads(self.wrong(change))
        return helps and self.leads(self.broken(trial)) <= self.leads(self.broken(change))

    def _extended(self, change: Change, harmless: Callable[[Change, Change], bool]) -> Change:
        for entries in self._offers():
            texts = dict.fromkeys((*self.defaults, *change.add, *entries))
            trial = Change(change.remove, tuple(texts))
            helps = self.leads(self.wrong(trial)) < self.leads(self.wrong(change))
            helps = helps or self.wrong(trial) < self.wrong(change)
            helps = helps or self._wanted(entries, change)
            if not helps or not harmless(trial, change):
                continue
            if moved := self.moved(trial):
                fixed = self.wrong(change) - self.wrong(trial)
                self._shared.update(dict.fromkeys(fixed, moved[0]))
            elif self._allowed(entries):
                change = trial
        return change

    def _offers(self) -> Iterator[tuple[str, ...]]:
        by_disk = not self._options.engine_names_only
        every = self._candidates.values()
        offers = [candidates.blocks() for candidates in every]
        if by_disk:
            offers += [candidates.disk_blocks() for candidates in every]
        offers += [candidates.modules(by_disk=by_disk) for candidates in every]
        # Entries that are too wide are tried too: what they hit says why nothing else is left.
        yield from (entries for found in offers for entries in found if all(entries))

    def _allowed(self, entries: Iterable[str]) -> bool:
        """Whether all of them name the MTP block and nothing wider, whoever reads them."""
        empty = self._options.chosen_releases
        every = self._candidates.values()
        return all(each.allowed(entry, empty=empty) for entry in entries for each in every)

    def _wanted(self, entries: Iterable[str], change: Change) -> bool:
        """Whether other readers of the file need `entries`: names on disk not yet exempt."""
        if self._options.engine_names_only:
            return False
        case = self._newest
        view = self._changed(case, Change())
        have = case.valid(view, self._changed(case, change).ignore)
        new = case.valid(view, (Entry(text, "", "") for text in entries))
        on_disk = self._candidates[case.engine].names_on_disk()
        try:
            return any(new.first(n) is not None and have.first(n) is None for n in on_disk)
        except PatternError:  # MTP404 says which entry is too slow
            return False

    @property
    def _newest(self) -> EngineCase:
        """The newest release of the first engine."""
        return next(case for case in reversed(self._cases) if case.engine is self._engines[0])

    def by_disk(self, change: Change) -> frozenset[str]:
        """Return the new entries that fit names of the MTP block on disk."""
        case = self._newest
        members = {name for reports in self._draft(change) for r in reports for name in r.members}

        def fits(text: str) -> bool:
            listed = case.valid(self._changed(case, Change()), [Entry(text, "", "")])
            return any(listed.first(name) is not None for name in members)

        return frozenset(filter(fits, change.add))

    # --- fewest --------------------------------------------------------------

    def reduced(self, change: Change) -> Change:
        """Drops entries, last first, that nothing depends on."""
        for text in reversed(change.add):
            rest = tuple(other for other in change.add if other != text)
            smaller = Change(change.remove, rest)
            if (
                self.broken(smaller) == self.broken(change)
                and self.wrong(smaller) == self.wrong(change)
                and not self._wanted([text], smaller)
                and not self.moved(smaller)
            ):
                change = smaller
        return change

    def without_vain_entries(self, change: Change) -> Change:
        """Drops entries for an engine that does not lead and that they make right nowhere."""
        for engine in set(self._engines).difference(self._leading):
            own = {
                (c.engine.name, c.release, c.platform) for c in self._cases if c.engine is engine
            }
            if own <= {key[:3] for key in self.broken(change)}:
                needing = self.needed_by(change)
                kept = tuple(text for text in change.add if needing[text] != (engine.title,))
                self._vain |= {engine} if kept != change.add else set()
                change = Change(change.remove, kept)
        return change

    # --- rules that would win ------------------------------------------------

    def without_pointless_rules(self, change: Change) -> Change:
        """Drops rules that only quantize what is unquantized: order alone would hold them off."""
        if not self.view.foremost or not change.add:
            return change
        pointless: dict[Entry, bool] = {}
        for reports in (*self._draft(Change()), *self._trunk):
            for report in reports:
                entry = report.decision.because
                if entry is not None and report.decision.built != "unquantized":
                    mtp = report.decision.module.part == "draft"
                    plain = mtp and report.disk.state is State.UNQUANTIZED
                    pointless[entry] = pointless.get(entry, True) and plain
        gone = {i for i, entry in enumerate(self.view.ignore) if pointless.get(entry)}
        trial = Change(tuple(sorted({*change.remove, *gone})), change.add)
        harmless = self.broken(trial) <= self.broken(change) and not self.moved(trial)
        return trial if harmless else change


def _hit(entries: Listed, names: Iterable[str]) -> bool:
    """Whether an entry may fit a name: also where a faulty pattern hides whether it does."""
    try:
        return any(map(entries.first, names))
    except PatternError:
        return True


def _mendable(report: ModuleReport) -> bool:
    """Whether an ignore list could make the module right at all."""
    return report.disk.state is State.UNQUANTIZED or _lost_scheme(report)


def _lost_scheme(report: ModuleReport) -> bool:
    """Whether an entry exempts a module that is quantized on disk, or only its shards."""
    decision = report.decision
    exempt = decision.built == "unquantized" or decision.halved
    hit = exempt and decision.because is not None
    return hit and report.disk.state is State.QUANTIZED


def _same(old: ModuleReport, new: ModuleReport) -> bool:
    return _built(old) == _built(new)


def _built(report: ModuleReport) -> tuple[object, ...]:
    return report.decision.built, report.decision.scheme, report.decision.packing
