"""From a judged checkpoint to the fewest edits that make it right. Pure.

Every candidate is predicted again, for every selected release and platform,
before it counts: a plan that moves a trunk module, or leaves a module wrong that
an entry could reach, is never handed out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from mtpfix import quant
from mtpfix.engines.vllm import methods
from mtpfix.engines.vllm.judge import Case
from mtpfix.engines.vllm.mapper import mapped
from mtpfix.engines.vllm.methods import budget
from mtpfix.engines.vllm.methods.base import Listed, PatternError
from mtpfix.engines.vllm.methods.scan import EXEMPTS, reads_headers
from mtpfix.model import Edit, Entry, ModuleReport, QuantView, State
from mtpfix.quant import Change
from mtpfix.repair.candidates import Candidates, narrowed
from mtpfix.repair.forms import form
from mtpfix.repair.headers import stand_ins


@dataclass(frozen=True, slots=True)
class Options:
    """What the user allows.

    Attributes:
        engine_names_only: leave out entries in the checkpoint's own spelling.
        repair_trunk: also narrow entries that take the scheme from quantized trunk
            modules; these modules then move from wrong to right.
    """

    engine_names_only: bool = False
    repair_trunk: bool = False


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A module that stays wrong under the best plan."""

    module: str
    releases: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Edits of the metadata, and what is left.

    Attributes:
        view: the metadata as it would be read after the edits.
        edits: what to change in the files; empty when nothing can or need be changed.
        added: new entries. removed: entries that go.
        unresolved: modules that no entry can mend, with the reason.
        refused: why no edit is offered although something is wrong, or None.
        headers: new entries that say what the engine read in tensor headers before.
    """

    view: QuantView
    edits: tuple[Edit, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unresolved: tuple[Unresolved, ...] = ()
    refused: str | None = None
    headers: tuple[str, ...] = ()


@budget.shared()
def plan(cases: Sequence[Case], view: QuantView, options: Options = Options()) -> Plan:
    """The fewest edits of `view` that are right for all `cases` (releases and platforms).

    Args:
        cases: one checkpoint under several releases; all of one family.
        view: the metadata as it is.
        options: what may be changed.
    """
    distinct = {case.fingerprint(view): case for case in reversed(cases)}
    different = tuple(reversed(distinct.values()))
    if view.method == EXEMPTS and reads_headers(view):
        return _instead_of_headers(different, view, options)
    return _with_list(different, view, options)


def _instead_of_headers(cases: tuple[Case, ...], view: QuantView, options: Options) -> Plan:
    """The plan where a first entry stops the engine from reading headers: the list says it all."""
    planner, none = _Planner(cases, view, options), Change()
    hidden = planner.hidden()
    if not planner.wrong(none) and not hidden:
        return Plan(view, unresolved=planner.unresolved(none))
    refused = None
    for base in stand_ins(cases[0], view, hidden):
        made = _with_list(cases, quant.changed(view, Change(add=base)), options)
        whole = Change(add=tuple(entry.text for entry in made.view.ignore))
        refused = made.refused or _refusal(planner, whole)
        if refused is None and planner.helps(whole):
            return Plan(
                view=quant.changed(view, whole),
                edits=quant.edit(view, whole),
                added=whole.add,
                unresolved=made.unresolved,
                headers=base,
            )
    return Plan(view, unresolved=planner.unresolved(none), refused=refused)


def _with_list(cases: tuple[Case, ...], view: QuantView, options: Options) -> Plan:
    """The plan where nothing but the entries of the metadata counts."""
    planner, none = _Planner(cases, view, options), Change()
    starts = planner.starts()
    if starts == [none] and not planner.wrong(none):
        return Plan(view, unresolved=planner.unresolved(none))
    changes = [planner.settled(planner.reduced(planner.extended(start))) for start in starts]
    refusals = [_refusal(planner, change) for change in changes]
    if all(refusals):
        return Plan(view, unresolved=planner.unresolved(none), refused=refusals[-1])
    change = next(c for c, refused in zip(changes, refusals, strict=True) if refused is None)
    if not planner.helps(change):
        return Plan(view, unresolved=planner.unresolved(none))
    return Plan(
        view=quant.changed(view, change),
        edits=quant.edit(view, change),
        added=change.add,
        removed=tuple(view.ignore[index].text for index in change.remove),
        unresolved=planner.unresolved(change),
    )


def _refusal(planner: _Planner, change: Change) -> str | None:
    """Why `change` must not be made, or None."""
    moved = planner.moved(change)
    if moved:
        return (
            f"every list that mends the MTP block would move trunk modules: {', '.join(moved[:3])}"
        )
    if harmed := planner.broken(change) - planner.broken(Change()):
        releases = ", ".join(sorted({release for release, _, _ in harmed}))
        return f"no list mends the MTP block without doing harm to other modules on vLLM {releases}"
    return None


def nothing() -> Plan:
    """The plan for a target without quantization metadata."""
    return Plan(QuantView("", "config.json", "", (), "", (), None))


_Key = tuple[str, str, str]
"""Release, platform and parameter path of a module."""


def _key(case: Case, report: ModuleReport) -> _Key:
    return case.context.release, case.context.platform, report.decision.module.param


def _paired(
    case: Case, view: QuantView, before: Sequence[ModuleReport]
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

    def __init__(self, cases: tuple[Case, ...], view: QuantView, options: Options) -> None:
        self._cases = cases
        self._view = view
        self._options = options
        self._trunk = [case.part(view, "trunk") for case in cases]
        self._asked = [
            [case.asked(report.decision.module) for report in reports]
            for case, reports in zip(cases, self._trunk, strict=True)
        ]
        self._judged = {Change(): [case.part(view, "draft") for case in cases]}
        self._moves: dict[Change, _Moves] = {}
        self._shared: dict[_Key, str] = {}
        self._candidates = Candidates(cases, self._draft(Change()))

    # --- judging a change ----------------------------------------------------

    def _draft(self, change: Change) -> list[tuple[ModuleReport, ...]]:
        if change not in self._judged:
            view = quant.changed(self._view, change)
            self._judged[change] = [case.judged(view, case.draft) for case in self._cases]
        return self._judged[change]

    def wrong(self, change: Change) -> set[_Key]:
        """What a list could mend in the draft and `change` leaves wrong."""
        return {key for key, report in self._amiss(change) if _mendable(report)}

    def broken(self, change: Change) -> set[_Key]:
        """Everything in the draft that `change` leaves wrong."""
        return {key for key, _ in self._amiss(change)}

    def _amiss(self, change: Change) -> Iterator[tuple[_Key, ModuleReport]]:
        for case, reports in zip(self._cases, self._draft(change), strict=True):
            for report in reports:
                if report.agrees is False and report.limit is None:
                    yield _key(case, report), report

    def moved(self, change: Change) -> list[str]:
        """Trunk modules whose decision `change` alters, unless the user lets it mend them."""
        moves = self._moved(change)
        return moves.away if self._options.repair_trunk else moves.away + moves.healed

    def _moved(self, change: Change) -> _Moves:
        """Trunk modules that `change` moves, to what is on disk or elsewhere."""
        if change in self._moves:
            return self._moves[change]
        view = quant.changed(self._view, change)
        away: dict[str, None] = {}
        healed: dict[str, None] = {}
        # Then vLLM builds no layer at all, or all of them as if there were no entries.
        unreadable, unread = self._view.null, self._view.unread is not None
        for number, case in enumerate(self._cases):
            for old, new in _paired(case, view, self._touched(number, change)):
                right = old.agrees is False and new.agrees is True
                revived = right and (unread or (unreadable and old.decision.built == "error"))
                if not _same(old, new) and not revived:
                    (healed if right else away)[old.decision.module.name] = None
        self._moves[change] = _Moves(list(away), list(healed))
        return self._moves[change]

    def _touched(self, number: int, change: Change) -> list[ModuleReport]:
        """Reports of the modules that an entry which comes or goes matches; others stay put."""
        if reads_headers(self._view) != reads_headers(quant.changed(self._view, change)):
            return list(self._trunk[number])
        case = self._cases[number]
        gone = [self._view.ignore[index] for index in change.remove]
        if self._view.unread is not None and change != Change():
            gone = list(self._view.ignore)
        new = [Entry(text, "", "") for text in change.add]
        view = replace(self._view, ignore=(*gone, *new), groups=(), unread=None)
        after = mapped(view, case.policy, case.context)
        entries = methods.valid(view.method, after.ignore, case.context.release)
        broken = view.null or any(e.text.startswith("re:") for e in gone)
        return [
            report
            for report, asked in zip(self._trunk[number], self._asked[number], strict=True)
            if (broken and report.decision.built in ("error", "unknown")) or _hit(entries, asked)
        ]

    def unresolved(self, change: Change) -> tuple[Unresolved, ...]:
        """What stays wrong after `change`, with the releases and the reason."""
        releases: dict[tuple[str, str], dict[str, None]] = {}
        for case, reports in zip(self._cases, self._draft(change), strict=True):
            for report in reports:
                if report.agrees is False:
                    reason = _reason(report, self._shared.get(_key(case, report)))
                    key = (report.decision.module.name, reason)
                    releases.setdefault(key, {})[case.context.release] = None
        return tuple(Unresolved(name, tuple(rs), why) for (name, why), rs in releases.items())

    # --- taking away ---------------------------------------------------------

    def starts(self) -> list[Change]:
        """Ways to deal with entries that took the scheme from quantized modules.

        Without the entry altogether, which is right where it was meant for the MTP block
        alone; else narrowed, so that it spares those modules and still hits all others.
        Entries may overlap: what one no longer exempts, the next one may.
        """
        gone = Change()
        spared: dict[Entry, set[str]] = {}
        while found := self._spared(gone):
            for entry, names in found.items():
                spared.setdefault(entry, set()).update(names)
            gone = Change(tuple(sorted(self._view.ignore.index(entry) for entry in spared)))
        if not spared:
            return [gone]
        everything = set().union(*spared.values())
        mark = form(self._view.method).mark
        patterns = [] if mark is None else [e.text for e in spared if e.text.startswith(mark)]
        narrow = tuple(narrowed(text, everything, mark or "") for text in dict.fromkeys(patterns))
        return [gone, Change(gone.remove, narrow)] if narrow else [gone]

    def _spared(self, change: Change) -> dict[Entry, set[str]]:
        """Entries that still take the scheme from modules under `change`, and the names hit."""
        spared: dict[Entry, set[str]] = {}
        for case, report in self._victims(change):
            entry, module = report.decision.because, report.decision.module
            if entry is not None and entry.pointer.startswith(f"{self._view.ignore_pointer}/"):
                asked = case.asked(module)
                probed = module.kind == "experts" and module.name not in asked
                hit = {f"{module.name}."} if probed else asked
                spared.setdefault(self._written(entry, change), set()).update(hit)
        return spared

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
        if self.wrong(change) < self.wrong(Change()):
            return True
        return self._options.repair_trunk and bool(self._moved(change).healed)

    def _victims(self, change: Change) -> Iterator[tuple[Case, ModuleReport]]:
        view = quant.changed(self._view, change)
        groups = [self._draft(change)]
        if self._options.repair_trunk:
            groups.append([case.part(view, "trunk") for case in self._cases])
        for reports in groups:
            for case, group in zip(self._cases, reports, strict=True):
                yield from ((case, report) for report in group if _lost_scheme(report))

    def _written(self, entry: Entry, change: Change) -> Entry:
        """The entry of the file that an entry of the changed list was."""
        if self._view.keyed:
            return next(e for e in self._view.ignore if e.pointer == entry.pointer)
        index = int(entry.pointer.rpartition("/")[2])
        kept = [e for i, e in enumerate(self._view.ignore) if i not in change.remove]
        return kept[index]

    # --- adding --------------------------------------------------------------

    def extended(self, change: Change) -> Change:
        """Adds entries until every unquantized MTP module is exempt, as far as entries reach."""
        for entries in self._offers():
            trial = Change(change.remove, tuple(dict.fromkeys((*change.add, *entries))))
            helps = self.wrong(trial) < self.wrong(change) or self._wanted(entries, change)
            if not helps or not self.broken(trial) <= self.broken(change):
                continue
            if moved := self.moved(trial):
                mended = self.wrong(change) - self.wrong(trial)
                self._shared.update(dict.fromkeys(mended, moved[0]))
            else:
                change = trial
        return change

    def _offers(self) -> Iterator[tuple[str, ...]]:
        by_disk = not self._options.engine_names_only
        yield from self._candidates.blocks()
        if by_disk:
            yield from self._candidates.disk_blocks()
        yield from self._candidates.modules(by_disk=by_disk)

    def _wanted(self, entries: Iterable[str], change: Change) -> bool:
        """Whether other readers of the file need `entries`: names on disk not yet exempt."""
        if self._options.engine_names_only:
            return False
        release = self._cases[-1].context.release
        listed = quant.changed(self._view, change).ignore
        have = methods.valid(self._view.method, listed, release)
        new = methods.valid(self._view.method, (Entry(t, "", "") for t in entries), release)
        on_disk = self._candidates.names_on_disk()
        try:
            return any(new.first(n) is not None and have.first(n) is None for n in on_disk)
        except PatternError:  # MTP404 says which entry is too slow
            return False

    # --- fewest --------------------------------------------------------------

    def reduced(self, change: Change) -> Change:
        """Drops entries, last first, that nothing depends on."""
        for text in reversed(change.add):
            rest = tuple(other for other in change.add if other != text)
            smaller = Change(change.remove, rest)
            if (
                self.broken(smaller) == self.broken(change)
                and not self._wanted([text], smaller)
                and not self.moved(smaller)
            ):
                change = smaller
        return change

    # --- rules that would win ------------------------------------------------

    def settled(self, change: Change) -> Change:
        """Drops rules that only quantize what is unquantized: order alone would hold them off."""
        if not self._view.foremost or not change.add:
            return change
        pointless: dict[Entry, bool] = {}
        for reports in (*self._draft(Change()), *self._trunk):
            for report in reports:
                entry = report.decision.because
                if entry is not None and report.decision.built != "unquantized":
                    mtp = report.decision.module.part == "draft"
                    plain = mtp and report.disk.state is State.UNQUANTIZED
                    pointless[entry] = pointless.get(entry, True) and plain
        gone = {i for i, entry in enumerate(self._view.ignore) if pointless.get(entry)}
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
    exempt = decision.built == "unquantized" and decision.module.asks
    hit = (exempt or decision.halved) and decision.because is not None
    return hit and report.disk.state is State.QUANTIZED


def _same(old: ModuleReport, new: ModuleReport) -> bool:
    return (old.decision.built, old.decision.scheme) == (new.decision.built, new.decision.scheme)


def _reason(report: ModuleReport, shared: str | None = None) -> str:
    """Why a module stays wrong.

    Args:
        report: the module.
        shared: a trunk module that every entry which mends this one would move.
    """
    if report.limit is not None:
        good = report.limit.good_from
        return report.limit.reason + (f"; good from vLLM {good}" if good else "")
    if report.disk.state is State.MIXED:
        return "its members are partly quantized on disk"
    if report.decision.built == "error":
        return report.decision.error or "vLLM raises while it builds the module"
    if shared is not None:
        return (
            f"every entry that reaches it also reaches `{shared}` of the trunk; quantize it too, "
            "or store the checkpoint by a method whose entries can be anchored"
        )
    return "no entry of an ignore list gives it the scheme that is on disk"
