"""Entries that could exempt the MTP block, the most general first. Pure.

A block that is wholly unquantized is exempt by one anchored entry on its prefix,
where the method has such entries; otherwise each module gets entries of its own,
in the spellings of the disk and of the engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from mtpfix.checkpoint.inventory import Inventory
from mtpfix.engines.base import EngineCase
from mtpfix.model import Module, ModuleReport, State
from mtpfix.repair.exact import (
    MtpNames,
    beginnings,
    distinct_names,
    fits_empty_name,
    is_exact,
    mtp_names,
    shortest_root,
)

_EXEMPTIBLE = frozenset({State.UNQUANTIZED, State.MISSING})


class Candidates:
    """Entries for the draft modules of one checkpoint under several releases of one engine.

    Args:
        cases: the releases.
        draft: for each case, the reports of its draft modules.
        every: the cases of all engines, whose names no entry may be too wide for.
    """

    def __init__(
        self,
        cases: Sequence[EngineCase],
        draft: Sequence[tuple[ModuleReport, ...]],
        every: Sequence[EngineCase],
    ) -> None:
        self._cases, self._every = cases, every
        self._draft = draft
        self._trunk: Inventory = cases[0].disk("trunk")
        self._block: Inventory = cases[0].disk("draft")
        self._form = cases[0].spelling

    @cached_property
    def names(self) -> MtpNames:
        """What tells the MTP block from the target model."""
        return mtp_names(self._every, self._trunk_on_disk)

    def allowed(self, entry: str, *, empty: bool) -> bool:
        """Whether mtpfix may write an entry.

        Args:
            entry: the entry.
            empty: whether one may be written that fits the empty name alone.
        """
        if fits_empty_name(entry, self._form):
            return empty
        return is_exact(entry, self._form, self.names)

    @property
    def empty_entry(self) -> str | None:
        """The entry that fits the empty name and no other; None where the method has none."""
        entry = self._form.name("")
        return entry if fits_empty_name(entry, self._form) else None

    def blocks(self) -> Iterator[tuple[str, ...]]:
        """One entry for each wholly unquantized block, by construction-time name."""
        block = self._form.block
        if block is None:
            return
        for root in self._roots:
            yield (block(root),)
            if self._form.unmapped_block is not None:
                yield (self._form.unmapped_block(root),)
            if self._form.anywhere:  # mappers look for beginnings
                yield from ((block(rest),) for rest in _shorter(root))

    def disk_blocks(self) -> Iterator[tuple[str, ...]]:
        """The same by the names on disk."""
        block = self._form.block
        if block is None:
            return
        states = self._block.states
        spoilt = {name for name, how in states.items() if State.QUANTIZED in how}
        spoilt |= self._trunk_on_disk
        for root in self._disk_roots:
            found = [name for name in states if f"{name}.".startswith(root)]
            if found and not any(f"{name}.".startswith(root) for name in spoilt):
                alone = root.removesuffix(".")  # some modules of the block stand for themselves
                yield (self._form.name(alone) if found == [alone] else block(root),)

    @cached_property
    def _disk_roots(self) -> list[str]:
        """Prefixes of the block on disk; one that others may have too gives way to longer ones."""
        roots: dict[str, None] = {}
        for root in self._cases[0].disk_roots:
            if not self.names.prefixes.isdisjoint(beginnings(root.removesuffix("."))):
                roots[root] = None
                continue
            below = (name for name in self._block.states if f"{name}.".startswith(root))
            marked = (self.names.prefix_of(name) for name in below)
            roots.update(dict.fromkeys(f"{prefix}." for prefix in marked if prefix is not None))
        return list(roots)

    def modules(self, *, by_disk: bool) -> Iterator[tuple[str, ...]]:
        """Entries for single modules that no block covers: on disk, fused, shard by shard."""
        covered = tuple(self._roots) if self._form.block else ()
        for module in self.unquantized():
            if covered and module.name.startswith(covered):
                continue
            if by_disk:
                yield self._by_disk(module)
            yield self._by_engine(module)
            if module.kind != "experts":
                asked = dict.fromkeys(case.asked(module) for case in self._cases)
                yield from (tuple(map(self._form.name, names)) for names in asked)
                if unmapped := self._form.unmapped:
                    yield from (tuple(map(unmapped, names)) for names in asked)

    def _by_disk(self, module: Module) -> tuple[str, ...]:
        """Entries that exempt a module by its names on disk; one for all its experts."""
        heads = {member.partition(".*.")[0] for member in module.members if ".*." in member}
        names = (member for member in module.members if ".*." not in member)
        return (*map(self._form.experts, sorted(heads)), *map(self._form.name, names))

    def _by_engine(self, module: Module) -> tuple[str, ...]:
        """The entry that exempts a module by the name that is asked about."""
        spell = self._form.experts if module.kind == "experts" else self._form.name
        return (spell(module.name),)

    def unquantized(self) -> list[Module]:
        """Draft modules that are unquantized on disk, each spelling once."""
        found: dict[tuple[str, str], Module] = {}
        for reports in self._draft:
            for report in reports:
                module = report.decision.module
                if report.disk.state is State.UNQUANTIZED and module.asks:
                    found.setdefault((module.name, module.param), module)
        return list(found.values())

    def names_on_disk(self) -> list[str]:
        """Unquantized MTP modules on disk, with those that no engine asks about."""
        names: dict[str, None] = {}
        for reports in self._draft:
            for report in reports:
                if report.disk.state is State.UNQUANTIZED and not report.decision.module.optional:
                    names.update(dict.fromkeys(report.members))
        return list(names)

    @cached_property
    def _roots(self) -> list[str]:
        """Shortest prefixes of MTP modules alone that hold nothing but unquantized ones."""
        wanted = [module.name for module in self.unquantized() if "." in module.name]
        spoilt = self._spoilt()
        roots: dict[str, None] = {}
        for name in wanted:
            if roots and name.startswith(tuple(roots)):
                continue
            root = shortest_root(name, self.names, spoilt, anywhere=self._form.anywhere)
            if root is not None and sum(other.startswith(root) for other in wanted) > 1:
                roots[root] = None
        return list(roots)

    def _spoilt(self) -> set[str]:
        """Names that no block may hit: those of the trunk and of quantized MTP modules."""
        spoilt = set(self._trunk_on_disk)
        for case, reports in zip(self._cases, self._draft, strict=True):
            quantized = (r.decision.module for r in reports if r.disk.state not in _EXEMPTIBLE)
            spoilt.update(name for module in quantized for name in _names(case, module))
        for case in distinct_names(self._every):
            spoilt.update(module.name for module in case.trunk)
            spoilt.update(*case.trunk_asked)
        return spoilt

    @cached_property
    def _trunk_on_disk(self) -> set[str]:
        """Modules on disk outside the MTP block, expert numbers left out."""
        roots = self._cases[0].disk_roots
        return {name for name in self._trunk.states if not f"{name}.".startswith(roots)}


def _names(case: EngineCase, module: Module) -> tuple[str, ...]:
    return (module.name, *case.asked(module))


def _shorter(root: str) -> Iterator[str]:
    """A dotted beginning without its first parts, as long as a name and a number are left."""
    parts = root.split(".")
    for start in range(1, len(parts) - 1):
        rest = parts[start:]
        if rest[0].isidentifier() and (len(rest) > 2 or rest[0].startswith("mtp")):  # noqa: PLR2004
            yield ".".join(rest)


def narrowed(text: str, victims: Iterable[str], mark: str) -> str:
    """A pattern, kept from matching some names: a look-ahead before its old body.

    Args:
        text: an entry that starts with `mark`.
        victims: names; one that ends in a dot stands for everything below it.
        mark: what makes an entry a pattern, such as `re:`.
    """
    parts = (re.escape(n) if n.endswith(".") else f"{re.escape(n)}$" for n in sorted(victims))
    body = text[len(mark) :]
    flags = re.match(r"(\(\?[aiLmsux]+\))*", body)  # must stand first
    start = flags[0] if flags else ""
    return f"{mark}{start}(?!{'|'.join(parts)})(?:{body[len(start) :]})"
