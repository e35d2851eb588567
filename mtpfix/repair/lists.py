"""From a judged checkpoint to the fewest entries of its list that make it right. Pure.

Every candidate is predicted again, for every selected release and platform,
before it counts: a plan that moves a trunk module, or leaves a module wrong that
an entry could reach, is never handed out. Nor is one with an entry that names more
than the MTP block (`exact.py`), or that changes what another reader of the file does
to the target model (`readers.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mtpfix import quant
from mtpfix.engines.base import Engine, EngineCase
from mtpfix.patterns import budget
from mtpfix.quant import Change
from mtpfix.repair import search
from mtpfix.repair.exact import fits_empty_name
from mtpfix.repair.headers import stand_ins
from mtpfix.repair.plan import Options, Plan
from mtpfix.repair.trials import Trials
from mtpfix.repair.unresolved import Obstacles, unresolved
from mtpfix.repair.verdicts import Views


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
    trials = Trials(tuple(cases), views, options, leading, edited=edited)
    read = cases[0].engine.header_list(trials.view)
    if read is not None and read.lists == "unquantized":
        return _instead_of_headers(trials)
    return _with_list(trials)


def _instead_of_headers(trials: Trials) -> Plan:
    """The plan where a first entry stops the engine from reading headers: the list says it all."""
    view, none = trials.view, Change()
    hidden = search.hidden(trials)
    if not trials.wrong(none) and not hidden:
        return _unchanged(trials, Obstacles())
    refused = None
    for base in stand_ins(trials.cases[0], view, hidden):
        made = _with_list(trials.on_top_of(Change(add=base)))
        whole = Change(add=tuple(entry.text for entry in made.view.ignore))
        trials.state(base)
        refused = made.refused or _refusal(trials, whole)
        if refused is None and trials.helps(whole):
            return Plan(
                view=quant.changed(view, whole),
                edits=quant.edit(view, whole),
                added=whole.add,
                unresolved=made.unresolved,
                headers=base,
                by_disk=trials.by_disk(whole),
                views=trials.views(whole),
                needed_by=made.needed_by,
            )
    return _unchanged(trials, Obstacles(), refused)


def _with_list(trials: Trials) -> Plan:
    """The plan where nothing but the entries of the metadata counts."""
    view, none, obstacles = trials.view, Change(), Obstacles()
    starts = search.starts(trials)
    if starts == [none] and not trials.wrong(none) and not trials.options.repair_trunk:
        return _unchanged(trials, obstacles)
    changes = [*search.changes(trials, starts, obstacles)]
    refusals = [_refusal(trials, change) for change in changes]
    if all(refusals) and (alone := trials.for_leading()) is not None:
        others = [*search.changes(alone, search.starts(alone), Obstacles())]
        changes += others
        refusals += [_refusal(alone, c) or _refusal(trials, c, drafts=False) for c in others]
    if all(refusals):
        return _unchanged(trials, obstacles, refusals[len(starts) - 1])
    change = next(c for c, refused in zip(changes, refusals, strict=True) if refused is None)
    if not trials.helps(change):
        return _unchanged(trials, obstacles)
    return Plan(
        view=quant.changed(view, change),
        edits=quant.edit(view, change),
        added=change.add,
        removed=tuple(view.ignore[index].text for index in change.remove),
        unresolved=unresolved(trials, change, obstacles),
        defaults=tuple(text for text in change.add if text in trials.defaults),
        by_disk=trials.by_disk(change),
        nameless=frozenset(e for e in change.add if fits_empty_name(e, trials.spelling)),
        target={text: trials.for_target[text] for text in change.add if text in trials.for_target},
        views=trials.views(change),
        needed_by=trials.needed_by(change),
    )


def _unchanged(trials: Trials, obstacles: Obstacles, refused: str | None = None) -> Plan:
    """The plan that changes nothing."""
    none = Change()
    return Plan(
        trials.view,
        unresolved=unresolved(trials, none, obstacles),
        refused=refused,
        views=trials.views(none),
    )


def _refusal(trials: Trials, change: Change, *, drafts: bool = True) -> str | None:
    """Why `change` must not be made, or None.

    Args:
        trials: says what it does.
        change: the change.
        drafts: whether it must break no module of the leading engines' drafts either.
    """
    if moved := trials.moved(change):
        return f"every list that fixes the MTP block would change {moved[0]}"
    if wide := trials.wide(change):
        return f"a needed entry would match more than the MTP block: {wide[0]}"
    harmed = trials.leads(trials.broken(change) - trials.broken(Change()))
    if drafts and harmed:
        where = trials.named(harmed)
        return f"no list fixes the MTP block without breaking other modules on {where}"
    return None
