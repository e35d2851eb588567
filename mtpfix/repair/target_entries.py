"""Entries for modules of the target model that are unquantized on disk and built quantized. Pure.

They hit exactly what is wrong: by a prefix that nothing else has, by a pattern that is open for
numbers alone, or by names. Modules that differ in numbers alone are one group, which gets its
entries together: half a fused layer is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from mtpfix.model import Module, ModuleReport, State
from mtpfix.quant import Change
from mtpfix.quant.spelling import Spelling
from mtpfix.repair.exact import beginnings, distinct_names
from mtpfix.repair.trials import Key, Trials, key_of

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")
_WRITTEN = re.compile(r"(?<=\.)\d+(?=\\?\.|\$|$|\()")
"""The same in an entry, where dots may be escaped."""


def extended(trials: Trials, change: Change) -> Change:
    """Return a change with the entries that also make modules of the target model right.

    Args:
        trials: says what a change does.
        change: what is changed already.
    """
    if not trials.options.repair_trunk:
        return change
    groups = _groups(trials)
    cover = Cover(trials.spelling, _spared(trials, groups.values()))
    for group in groups.values():
        change = _with_group(trials, change, cover, group)
    for entry in trials.for_target:
        trials.for_target[entry] = _reach(trials, entry, groups.values())
    return change


def _reach(trials: Trials, entry: str, groups: Iterable[_Group]) -> int:
    """Return how many modules that were wrong an entry is about, by any of their names."""
    keys = [key for group in groups for key in group.modules]
    hit = (key[2] for key in keys if trials.hits(entry, _all(*key)))
    return len(dict.fromkeys(hit))


class _Group(NamedTuple):
    """Modules that differ in numbers alone.

    Attributes:
        modules: by their name, the names that are asked about, and those on disk.
        wrong: what tells each of them in each case from all others.
    """

    modules: dict[tuple[str, tuple[str, ...], tuple[str, ...]], Module]
    wrong: set[Key]


def _groups(trials: Trials) -> dict[str, _Group]:
    """Return the modules that are wrong, by their common name."""
    found: dict[str, _Group] = {}
    for case, reports in zip(trials.cases, trials.trunk, strict=True):
        for report in reports:
            if _lacks_entry(report):
                module = report.decision.module
                group = found.setdefault(_shape(module.name), _Group({}, set()))
                group.modules[module.name, case.asked(module), module.members] = module
                group.wrong.add(key_of(case, report))
    return found


def _lacks_entry(report: ModuleReport) -> bool:
    wrong = report.agrees is False and report.limit is None
    quantized = report.decision.built != "unquantized"
    return wrong and quantized and report.disk.state is State.UNQUANTIZED


def _spared(trials: Trials, groups: Iterable[_Group]) -> set[str]:
    """Return the names that no entry may hit: of the draft, and of what is right or quantized."""
    wrong = {name for group in groups for key in group.modules for name in _all(*key)}
    spared = set(trials.quantized)
    for case in distinct_names(trials.cases):
        for module, asked in zip(case.trunk, case.trunk_asked, strict=True):
            spared.update(_all(module.name, asked, ()))
        for module in case.draft:
            spared.update(_all(module.name, case.asked(module), module.members))
    return spared - wrong


def _all(name: str, asked: Iterable[str], members: Iterable[str]) -> Iterator[str]:
    yield from filter(None, (name, *asked, *members))


def _with_group(trials: Trials, change: Change, cover: Cover, group: _Group) -> Change:
    """Return the change with the fewest entries that make most of a group right, and harm nothing.

    Names on disk come first: they serve the other readers of the file, too.
    """
    asked = dict.fromkeys(name for _, names, _ in group.modules for name in names)
    experts = {module.name for module in group.modules.values() if module.kind == "experts"}
    disk: dict[str, None] = {}
    if not trials.options.engine_names_only:
        disk = dict.fromkeys(name for _, _, members in group.modules for name in members)
    spellings = (disk, {**asked, **dict.fromkeys(experts)}, {**disk, **asked})
    levels = zip(*(cover.of(names, experts) for names in spellings), strict=True)
    found = change
    for entries in dict.fromkeys(each for level in levels for each in level):
        trial = Change(change.remove, _joined(change, entries))
        if trials.healed(trial) > trials.healed(found) and not _harms(trials, trial, change):
            found = trial
        if trials.healed(found) >= group.wrong:
            break
    if found is not change and not trials.fits(disk, found):
        for entries in filter(None, cover.of(disk, ())):
            trial = Change(found.remove, _joined(found, entries))
            if trials.healed(trial) >= trials.healed(found) and not _harms(trials, trial, change):
                found = trial
                break
    for entry in found.add[len(change.add) :]:
        trials.for_target[entry] = 0
    trials.state(trials.for_target)
    return found


def _joined(change: Change, entries: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*change.add, *entries)))


def _harms(trials: Trials, trial: Change, begin: Change) -> bool:
    return bool(trials.moved(trial)) or not trials.broken(trial) <= trials.broken(begin)


class Cover:
    """Writes entries that hit given names, and no other.

    Args:
        form: how entries are spelled.
        spared: the names that they may not hit.
    """

    def __init__(self, form: Spelling, spared: Collection[str]) -> None:
        self._form, self._spared = form, spared
        self._name = form.name if form.unmapped is None else form.unmapped
        self._block = form.block if form.unmapped_block is None else form.unmapped_block

    def of(self, names: Collection[str], experts: Collection[str]) -> tuple[tuple[str, ...], ...]:
        """Return entries for all names: by prefixes, open for numbers, closed, and one by one.

        Args:
            names: what is to be hit; `*` stands for an expert number.
            experts: those that are modules of routed experts.
        """
        heads = dict.fromkeys(name.partition(".*.")[0] for name in names if ".*." in name)
        heads.update(dict.fromkeys(name for name in names if name in experts))
        plain = [name for name in names if ".*." not in name and name not in experts]
        below = [*map(self._form.experts, heads)]
        alike = [*dict.fromkeys(entry for name in plain for entry in self._alike(name, plain))]
        return (
            tuple(self._blocks([self._root(name) for name in (*plain, *heads)])),
            (*alike, *dict.fromkeys(map(self._open, below))),
            (*alike, *below),
            (*map(self._form.name, plain), *below),
            (*map(self._name, plain), *below),
        )

    def _root(self, name: str) -> str | None:
        """Return the shortest prefix of a name that nothing else has; None: it has none."""
        roots = (f"{each}." for each in list(beginnings(name))[:-1])
        return next((root for root in roots if not self._is_taken(root)), None)

    def _blocks(self, found: Sequence[str | None]) -> Iterator[str]:
        """Yield entries for all below some prefixes: one for those that differ in numbers alone."""
        roots, block = dict.fromkeys(root for root in found if root is not None), self._block
        if block is None or None in found:
            return
        for shape in dict.fromkeys(map(_shape, roots)):
            alike = [root for root in roots if _shape(root) == shape]
            if len(alike) == 1 or self._any is None:
                yield from map(block, alike)
            elif shape not in self._shapes:
                yield self._open(block(alike[0]))
            elif (numbers := _varying(alike)) is not None:
                yield self._open(block(alike[0]), numbers)
            else:
                yield from map(block, alike)

    def _alike(self, name: str, names: Collection[str]) -> Iterator[str]:
        """Yield an entry for those of some names that differ from one in numbers alone."""
        shape = _shape(name)
        if self._any is None or shape == name:
            yield self._form.name(name)
        elif shape not in self._shapes:
            yield self._open(self._name(name))
        else:
            alike = [each for each in names if _shape(each) == shape]
            numbers = _varying(alike) if len(alike) > 1 else None
            yield self._form.name(name) if not numbers else self._open(self._name(name), numbers)

    @property
    def _any(self) -> str | None:
        """What stands for any number in an entry; None: nothing does."""
        return {"pattern": r"\d+", "wildcard": "*"}.get(self._form.syntax)

    def _open(self, entry: str, numbers: Sequence[str] = ()) -> str:
        """Return an entry for a name, for other numbers too: for some, or for any."""
        if self._any is None:
            return entry
        one_of = f"(?:{'|'.join(numbers)})" if numbers else self._any
        return _WRITTEN.sub(lambda _: one_of, entry)

    def _is_taken(self, root: str) -> bool:
        """Return whether something that is spared is below a prefix, or holds it."""
        if self._form.syntax in ("part", "component"):
            return any(f".{root}" in f".{name}." for name in self._spared)
        return root in self._taken

    @cached_property
    def _taken(self) -> set[str]:
        """Every beginning of a name that is spared, with the dot at its end."""
        return {f"{each}." for name in self._spared for each in beginnings(name)}

    @cached_property
    def _shapes(self) -> set[str]:
        """The same, and the whole names, with their numbers left open."""
        return {_shape(each) for each in (*self._taken, *self._spared)}


def _shape(name: str) -> str:
    return _NUMBER.sub("*", name)


def _varying(names: Sequence[str]) -> tuple[str, ...] | None:
    """Return the numbers of names that have one each; None: they have more."""
    found = [_NUMBER.findall(name) for name in names]
    return tuple(numbers[0] for numbers in found) if all(len(f) == 1 for f in found) else None
