"""From a judged checkpoint to the fewest edits that make it right. Pure.

Every candidate is predicted again, for every selected release and platform,
before it counts: a plan that moves a trunk module, or leaves a module wrong that
an entry could reach, is never handed out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from mtpfix import quant
from mtpfix.checkpoint.inventory import Inventory, without_expert
from mtpfix.engines.vllm.judge import Case
from mtpfix.engines.vllm.match import Entries, PatternError
from mtpfix.engines.vllm.names import disk_roots
from mtpfix.engines.vllm.predict import asked_names, packed_mapping
from mtpfix.model import Edit, Entry, Module, ModuleReport, QuantView, State
from mtpfix.quant import Change


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
    """

    view: QuantView
    edits: tuple[Edit, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unresolved: tuple[Unresolved, ...] = ()
    refused: str | None = None


def plan(cases: Sequence[Case], view: QuantView, options: Options = Options()) -> Plan:  # noqa: B008
    """The fewest edits of `view` that are right for all `cases` (releases and platforms).

    Args:
        cases: one checkpoint under several releases; all of one family.
        view: the metadata as it is.
        options: what may be changed.
    """
    planner = _Planner(tuple(cases), view, options)
    if not planner.wrong(Change()) and not planner.trunk_hit(Change()):
        return Plan(view)
    start = planner.narrowed()
    change = planner.reduced(planner.extended(start))
    if change == Change():
        return Plan(view, unresolved=planner.unresolved(change))
    moved = planner.moved(change)
    if moved:
        listed = ", ".join(moved[:3])
        reason = f"every list that mends the MTP block would move trunk modules: {listed}"
        return Plan(view, unresolved=planner.unresolved(Change()), refused=reason)
    if len(planner.wrong(change)) > len(planner.wrong(Change())):
        reason = "no list was found that is better than the present one for every selected release"
        return Plan(view, unresolved=planner.unresolved(Change()), refused=reason)
    return Plan(
        view=quant.changed(view, change),
        edits=quant.edit(view, change),
        added=change.add,
        removed=tuple(view.ignore[index].text for index in change.remove),
        unresolved=planner.unresolved(change),
    )


class _Planner:
    """Tries changes of one ignore list against all cases."""

    def __init__(self, cases: tuple[Case, ...], view: QuantView, options: Options) -> None:
        self._cases = cases
        self._view = view
        self._options = options
        self._before = [case.judged(view, case.trunk) for case in cases]
        self._cache: dict[Change, list[tuple[ModuleReport, ...]]] = {}

    # --- judging a change ----------------------------------------------------

    def _draft(self, change: Change) -> list[tuple[ModuleReport, ...]]:
        if change not in self._cache:
            view = quant.changed(self._view, change)
            self._cache[change] = [case.judged(view, case.draft) for case in self._cases]
        return self._cache[change]

    def wrong(self, change: Change) -> list[tuple[Case, ModuleReport]]:
        """Draft modules that a list could mend and that `change` leaves wrong."""
        return [
            (case, report)
            for case, reports in zip(self._cases, self._draft(change), strict=True)
            for report in reports
            if report.agrees is False and report.limit is None and _mendable(report)
        ]

    def moved(self, change: Change) -> list[str]:
        """Trunk modules whose decision `change` alters, unless from wrong to right."""
        view = quant.changed(self._view, change)
        found: dict[str, None] = {}
        for case, before in zip(self._cases, self._before, strict=True):
            for old, new in zip(before, case.judged(view, case.trunk), strict=True):
                if _same(old, new):
                    continue
                healed = old.agrees is False and new.agrees is True
                if not (self._options.repair_trunk and healed):
                    found[old.decision.module.name] = None
        return list(found)

    def unresolved(self, change: Change) -> tuple[Unresolved, ...]:
        """What stays wrong after `change`, with the releases and the reason."""
        releases: dict[tuple[str, str], list[str]] = {}
        for case, reports in zip(self._cases, self._draft(change), strict=True):
            for report in reports:
                if report.agrees is False:
                    key = (report.decision.module.name, _reason(report))
                    listed = releases.setdefault(key, [])
                    if case.context.release not in listed:
                        listed.append(case.context.release)
        return tuple(Unresolved(name, tuple(rs), why) for (name, why), rs in releases.items())

    # --- taking away ---------------------------------------------------------

    def trunk_hit(self, change: Change) -> list[Entry]:
        """Entries that wrongly exempt trunk modules; empty unless the user lets them be mended."""
        if not self._options.repair_trunk:
            return []
        view = quant.changed(self._view, change)
        found: dict[str, Entry] = {}
        for case in self._cases:
            for report in case.judged(view, case.trunk):
                entry = report.decision.because
                if entry is not None and _lost_scheme(report):
                    found[entry.pointer] = entry
        return list(found.values())

    def narrowed(self) -> Change:
        """Takes entries away, or narrows them, where quantized modules lost their scheme."""
        entries: dict[str, Entry] = {}
        hit: dict[str, set[str]] = {}
        for case, report in [*self._victims("draft"), *self._victims("trunk")]:
            entry = report.decision.because
            if entry is None:
                continue
            entries[entry.pointer] = entry
            module = report.decision.module
            packed = packed_mapping(case.policy, case.context, module.part)
            hit.setdefault(entry.pointer, set()).update(self._hit_names(module, packed))
        remove, add = [], []
        for pointer, entry in entries.items():
            remove.append(int(pointer.rpartition("/")[2]))
            if entry.text.startswith("re:"):
                add.append(_narrow(entry.text, hit[pointer]))
        return Change(tuple(sorted(remove)), tuple(add))

    def _victims(self, part: str) -> Iterator[tuple[Case, ModuleReport]]:
        if part == "trunk" and not self._options.repair_trunk:
            return
        reports = self._draft(Change()) if part == "draft" else self._before
        for case, group in zip(self._cases, reports, strict=True):
            yield from ((case, report) for report in group if _lost_scheme(report))

    @staticmethod
    def _hit_names(module: Module, packed: object) -> set[str]:
        if module.kind == "experts":
            return {f"{module.name}."}
        return set(asked_names(module, packed))  # type: ignore[arg-type]

    # --- adding --------------------------------------------------------------

    def extended(self, change: Change) -> Change:
        """Adds entries until every unquantized MTP module is exempt, as far as entries reach."""
        add = list(change.add)
        for candidates in (*self._blocks(), *self._exact()):
            trial = Change(change.remove, tuple(dict.fromkeys([*add, *candidates])))
            needed = self._improves(Change(change.remove, tuple(add)), trial)
            if needed or (self._readers_want(candidates, add, change) and not self.moved(trial)):
                add = list(trial.add)
        return Change(change.remove, tuple(add))

    def _improves(self, old: Change, new: Change) -> bool:
        before, after = self._keys(old), self._keys(new)
        return after < before and not self.moved(new)

    def _keys(self, change: Change) -> set[tuple[str, str, str]]:
        return {
            (case.context.release, case.context.platform, report.decision.module.param)
            for case, report in self.wrong(change)
        }

    def _blocks(self) -> Iterator[tuple[str, ...]]:
        """One anchored pattern for each block that is wholly unquantized, engine's name first."""
        for root in self._whole_roots:
            yield (f"re:^{re.escape(root)}.*",)
        if not self._options.engine_names_only:
            for root in self._whole_disk_roots:
                yield (f"re:^{re.escape(root)}.*",)

    def _exact(self) -> Iterator[tuple[str, ...]]:
        """Entries for single modules: names on disk, then the names that vLLM asks about."""
        covered = tuple(self._whole_roots)
        for module in self._unquantized_modules():
            if module.name and module.name.startswith(covered):
                continue
            if not self._options.engine_names_only:
                yield _disk_entries(module)
            yield _engine_entries(module)
            for case in self._cases:
                packed = packed_mapping(case.policy, case.context, "draft")
                yield asked_names(module, packed) if module.kind != "experts" else ()

    def _unquantized_modules(self) -> list[Module]:
        """Draft modules that are unquantized on disk, each spelling once."""
        found: dict[tuple[str, str], Module] = {}
        for reports in self._draft(Change()):
            for report in reports:
                module = report.decision.module
                if report.disk.state is State.UNQUANTIZED and module.asks:
                    found.setdefault((module.name, module.param), module)
        return list(found.values())

    @cached_property
    def _whole_roots(self) -> list[str]:
        """Shortest dotted prefixes of construction-time names that hold unquantized MTP modules only."""
        wanted = [m.name for m in self._unquantized_modules() if "." in m.name]
        spoilt = self._spoilt_names()
        roots: dict[str, None] = {}
        for name in wanted:
            if name.startswith(tuple(roots)):
                continue
            root = _shortest_root(name, spoilt)
            if root is not None and sum(other.startswith(root) for other in wanted) > 1:
                roots[root] = None
        return list(roots)

    def _spoilt_names(self) -> set[str]:
        """Names that no block pattern may hit: the trunk's, and those of quantized MTP modules."""
        spoilt: set[str] = set()
        for case, reports in zip(self._cases, self._draft(Change()), strict=True):
            for part, group in (("trunk", case.trunk), ("draft", case.draft)):
                packed = packed_mapping(case.policy, case.context, part)  # type: ignore[arg-type]
                states = {r.decision.module.param: r.disk.state for r in reports}
                for module in group:
                    keep = part == "draft" and states[module.param] in _EXEMPTIBLE
                    if not keep:
                        spoilt.update(asked_names(module, packed))
                        spoilt.add(module.name)
        spoilt.update(self._trunk_on_disk)
        return spoilt

    @cached_property
    def _trunk_on_disk(self) -> set[str]:
        """Modules on disk outside the MTP block, expert numbers left out."""
        inventory: Inventory = self._cases[0].inventory
        roots = disk_roots(self._cases[0].policy, self._cases[0].context)
        return {without_expert(n) for n in inventory.modules() if not f"{n}.".startswith(roots)}

    @cached_property
    def _whole_disk_roots(self) -> list[str]:
        """Prefixes on disk that hold unquantized MTP modules only."""
        inventory: Inventory = self._cases[0].inventory
        case = self._cases[0]
        spoilt = set(self._trunk_on_disk)
        for module in inventory.modules():
            if inventory.one(module).state is State.QUANTIZED:
                spoilt.add(module)
        roots = disk_roots(case.policy, case.context)
        return [r for r in roots if self._on_disk(r) and not any(s.startswith(r) for s in spoilt)]

    def _on_disk(self, root: str) -> bool:
        inventory: Inventory = self._cases[0].inventory
        return any(f"{module}.".startswith(root) for module in inventory.modules())

    def _readers_want(self, candidates: Iterable[str], add: Sequence[str], change: Change) -> bool:
        """Whether other readers of the file need these entries: names on disk not yet exempt."""
        if self._options.engine_names_only:
            return False
        entries = [*quant.changed(self._view, Change(change.remove, tuple(add))).ignore]
        have = _tolerant(entries)
        want = _tolerant([Entry(text, "", "") for text in candidates])
        names = [n for n in self._unquantized_on_disk if want.first(n) is not None]
        return any(have.first(name) is None for name in names)

    @cached_property
    def _unquantized_on_disk(self) -> list[str]:
        inventory: Inventory = self._cases[0].inventory
        names: dict[str, None] = {}
        for reports in self._draft(Change()):
            for report in reports:
                if report.disk.state is State.UNQUANTIZED and not report.decision.module.optional:
                    names.update(dict.fromkeys(report.members))
        return [name for name in names if name in inventory]

    # --- fewest --------------------------------------------------------------

    def reduced(self, change: Change) -> Change:
        """Drops entries, last first, that nothing depends on."""
        add = list(change.add)
        for text in reversed(change.add):
            rest = [other for other in add if other != text]
            smaller = Change(change.remove, tuple(rest))
            same = self._keys(smaller) == self._keys(Change(change.remove, tuple(add)))
            if same and not self._readers_want([text], rest, change) and not self.moved(smaller):
                add = rest
        return Change(change.remove, tuple(add))


_EXEMPTIBLE = frozenset({State.UNQUANTIZED, State.MISSING})


def _mendable(report: ModuleReport) -> bool:
    """Whether an ignore list could make the module right at all."""
    if report.disk.state is State.UNQUANTIZED:
        return True
    return report.disk.state is State.QUANTIZED and _lost_scheme(report)


def _lost_scheme(report: ModuleReport) -> bool:
    """Whether an entry exempts a module that is quantized on disk."""
    decision = report.decision
    exempt = decision.built == "unquantized" and decision.module.asks
    return exempt and decision.because is not None and report.disk.state is State.QUANTIZED


def _same(old: ModuleReport, new: ModuleReport) -> bool:
    return (old.decision.built, old.decision.scheme) == (new.decision.built, new.decision.scheme)


def _reason(report: ModuleReport) -> str:
    if report.limit is not None:
        good = report.limit.good_from
        return report.limit.reason + (f"; good from vLLM {good}" if good else "")
    if report.disk.state is State.MIXED:
        return "its members are partly quantized on disk"
    if report.decision.built == "error":
        return report.decision.error or "vLLM raises while it builds the module"
    if report.disk.state is State.MISSING:
        return "its weights are missing"
    return "no entry of an ignore list gives it the scheme that is on disk"


def _shortest_root(name: str, spoilt: set[str]) -> str | None:
    parts = name.split(".")
    for end in range(1, len(parts)):
        root = ".".join(parts[:end]) + "."
        if not any(f"{other}.".startswith(root) for other in spoilt):
            return root
    return None


def _narrow(text: str, names: Iterable[str]) -> str:
    """The pattern, kept from matching some names: a look-ahead before its old body."""
    parts = [re.escape(n) if n.endswith(".") else f"{re.escape(n)}$" for n in sorted(names)]
    return f"re:(?!{'|'.join(parts)})(?:{text[len('re:'):]})"


def _disk_entries(module: Module) -> tuple[str, ...]:
    """Entries that exempt a module by its names on disk; one pattern for all experts."""
    if module.kind != "experts":
        return tuple(module.members)
    heads = {member.partition(".*.")[0] for member in module.members if ".*." in member}
    patterns = tuple(f"re:^{re.escape(head)}\\..*" for head in sorted(heads))
    return patterns + tuple(m for m in module.members if ".*." not in m)


def _engine_entries(module: Module) -> tuple[str, ...]:
    """Entries that exempt a module by the name that vLLM asks about."""
    if module.kind == "experts":
        return (f"re:^{re.escape(module.name)}\\..*",)
    return (module.name if module.name else "re:^$",)


def _tolerant(entries: Iterable[Entry]) -> Entries:
    """Entries without those that are no valid patterns."""
    good = []
    for entry in entries:
        try:
            Entries([entry])
        except PatternError:
            continue
        good.append(entry)
    return Entries(good)
