"""Changes of a list of entries that would make a draft right, and the fewest entries of each. Pure.

Entries that hurt go, entries that help come, from general to exact, and those that nothing depends
on go again. What each does, `trials.py` says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from mtpfix.engines.base import EngineCase
from mtpfix.model import Entry, ModuleReport, State
from mtpfix.quant import Change
from mtpfix.repair import target_entries
from mtpfix.repair.candidates import narrowed
from mtpfix.repair.trials import Trials, lost_scheme
from mtpfix.repair.unresolved import Obstacles


def changes(trials: Trials, begin: Iterable[Change], obstacles: Obstacles) -> Iterator[Change]:
    """Yield what each change comes to when entries are added until nothing more helps.

    Args:
        trials: says what a change does.
        begin: the changes that are begun with, as of `starts`.
        obstacles: is told what keeps the search from an entry.
    """
    for start in begin:
        right = target_entries.extended(trials, start)
        exempting = set(right.add).difference(start.add)
        change = _reduced(trials, _extended(trials, right, obstacles), exempting)
        change = _without_vain_entries(trials, change, obstacles)
        yield _without_pointless_rules(trials, change)


# --- taking away -------------------------------------------------------------


def starts(trials: Trials) -> list[Change]:
    """Return ways to deal with entries that took the scheme from quantized modules.

    Without the entry altogether, which is right where it was meant for the MTP block
    alone; else narrowed, so that it spares those modules and still hits all others.
    Entries may overlap: what one no longer exempts, the next one may.
    """
    gone = Change()
    victims: dict[Entry, set[str]] = {}
    while found := _blamed_entries(trials, gone):
        for entry, names in found.items():
            victims.setdefault(entry, set()).update(names)
        gone = Change(tuple(sorted(trials.view.ignore.index(entry) for entry in victims)))
    if not victims:
        return [gone]
    everything = set().union(*victims.values())
    mark = trials.spelling.mark
    patterns = [] if mark is None else [e.text for e in victims if e.text.startswith(mark)]
    narrow = tuple(narrowed(text, everything, mark or "") for text in dict.fromkeys(patterns))
    trials.state(narrow)
    return [gone, Change(gone.remove, narrow)] if narrow else [gone]


def _blamed_entries(trials: Trials, change: Change) -> dict[Entry, set[str]]:
    """Entries that still take the scheme from modules under `change`, and the names hit."""
    victims: dict[Entry, set[str]] = {}
    for case, report in _victims(trials, change):
        entry, module = report.decision.because, report.decision.module
        if entry is not None and entry.pointer.startswith(f"{trials.view.ignore_pointer}/"):
            asked = case.asked(module)
            probed = module.kind == "experts" and module.name not in asked
            hit = {f"{module.name}."} if probed else asked
            victims.setdefault(_written(trials, entry, change), set()).update(hit)
    return victims


def _victims(trials: Trials, change: Change) -> Iterator[tuple[EngineCase, ModuleReport]]:
    groups = [trials.draft(change)]
    if trials.options.repair_trunk:
        groups.append([c.part(trials.changed(c, change), "trunk") for c in trials.cases])
    for reports in groups:
        for case, group in zip(trials.cases, reports, strict=True):
            yield from ((case, report) for report in group if lost_scheme(report))


def _written(trials: Trials, entry: Entry, change: Change) -> Entry:
    """The entry of the file that an entry of the changed list was."""
    if trials.view.keyed:
        return next(e for e in trials.view.ignore if e.pointer == entry.pointer)
    index = int(entry.pointer.rpartition("/")[2])
    kept = [e for i, e in enumerate(trials.view.ignore) if i not in change.remove]
    return kept[index]


def hidden(trials: Trials) -> frozenset[str]:
    """Return names in headers that take the scheme from quantized trunk modules and may not."""
    if not trials.options.repair_trunk:
        return frozenset()
    victims = (r.decision.because for reports in trials.trunk for r in reports if lost_scheme(r))
    return frozenset(e.spelling for e in victims if e is not None and e.derived)


# --- adding ------------------------------------------------------------------


def _extended(trials: Trials, change: Change, obstacles: Obstacles) -> Change:
    """Adds entries until every unquantized MTP module is exempt, as far as entries reach.

    Where that is not done for the leading engines without harm to the draft of another, the
    list is theirs.
    """
    change = _with_offers(trials, change, obstacles, _harmless)
    if trials.leading != trials.engines and trials.leads(trials.wrong(change)):
        change = _with_offers(trials, change, obstacles, _harmless_for_leading)
    return change


def _harmless(trials: Trials, trial: Change, change: Change) -> bool:
    return trials.broken(trial) <= trials.broken(change)


def _harmless_for_leading(trials: Trials, trial: Change, change: Change) -> bool:
    helps = trials.leads(trials.wrong(trial)) < trials.leads(trials.wrong(change))
    return helps and trials.leads(trials.broken(trial)) <= trials.leads(trials.broken(change))


def _with_offers(
    trials: Trials,
    change: Change,
    obstacles: Obstacles,
    harmless: Callable[[Trials, Change, Change], bool],
) -> Change:
    """Return the change with each entry that helps and is harmless beside those before it."""
    for entries in _offers(trials):
        texts = dict.fromkeys((*trials.defaults, *change.add, *entries))
        trial = Change(change.remove, tuple(texts))
        helps = trials.leads(trials.wrong(trial)) < trials.leads(trials.wrong(change))
        helps = helps or trials.wrong(trial) < trials.wrong(change)
        helps = helps or trials.wanted(entries, change)
        if not helps or not harmless(trials, trial, change):
            continue
        if moved := trials.moved(trial):
            fixed = trials.wrong(change) - trials.wrong(trial)
            obstacles.shared.update(dict.fromkeys(fixed, moved[0]))
        elif trials.allowed(entries):
            change = trial
    return change


def _offers(trials: Trials) -> Iterator[tuple[str, ...]]:
    by_disk = not trials.options.engine_names_only
    every = trials.candidates.values()
    offers = [candidates.blocks() for candidates in every]
    if by_disk:
        offers += [candidates.disk_blocks() for candidates in every]
    offers += [candidates.modules(by_disk=by_disk) for candidates in every]
    # Entries that are too wide are tried too: what they hit says why nothing else is left.
    yield from (entries for found in offers for entries in found if all(entries))


# --- fewest ------------------------------------------------------------------


def _reduced(trials: Trials, change: Change, kept: Collection[str]) -> Change:
    """Drops entries, last first, that nothing depends on; those kept are few already."""
    for text in reversed(change.add):
        if text in kept:
            continue
        rest = tuple(other for other in change.add if other != text)
        smaller = Change(change.remove, rest)
        if (
            trials.broken(smaller) == trials.broken(change)
            and trials.wrong(smaller) == trials.wrong(change)
            and not trials.wanted([text], smaller)
            and not trials.moved(smaller)
        ):
            change = smaller
    return change


def _without_vain_entries(trials: Trials, change: Change, obstacles: Obstacles) -> Change:
    """Drops entries for an engine that does not lead and that they make right nowhere."""
    for engine in set(trials.engines).difference(trials.leading):
        own = {(c.engine.name, c.release, c.platform) for c in trials.cases if c.engine is engine}
        if own <= {key[:3] for key in trials.broken(change)}:
            needing = trials.needed_by(change)
            kept = tuple(text for text in change.add if needing[text] != (engine.title,))
            if kept != change.add:
                obstacles.vain.add(engine)
            change = Change(change.remove, kept)
    return change


# --- rules that would win ----------------------------------------------------


def _without_pointless_rules(trials: Trials, change: Change) -> Change:
    """Drops rules that only quantize what is unquantized: order alone would hold them off."""
    if not trials.view.foremost or not change.add:
        return change
    pointless: dict[Entry, bool] = {}
    for reports in (*trials.draft(Change()), *trials.trunk):
        for report in reports:
            entry = report.decision.because
            if entry is not None and report.decision.built != "unquantized":
                mtp = report.decision.module.part == "draft"
                plain = mtp and report.disk.state is State.UNQUANTIZED
                pointless[entry] = pointless.get(entry, True) and plain
    gone = {i for i, entry in enumerate(trials.view.ignore) if pointless.get(entry)}
    trial = Change(tuple(sorted({*change.remove, *gone})), change.add)
    harmless = trials.broken(trial) <= trials.broken(change) and not trials.moved(trial)
    return trial if harmless else change
