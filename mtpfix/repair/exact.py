"""The rule that every entry which mtpfix writes keeps: it names the MTP block, and nothing wider.

An entry is prefix-exact if what it demands of a name begins as only MTP modules do: with a prefix
that ends in the MTP layer's number, or in a word of the MTP block's own (`mtp`, `mtp_block`).
`model.layers.` is no such prefix even where no release asks about a target module below
it: other engines and other readers of the file name the target model in their own way. The one
entry without a prefix is the whole name of an MTP module that no target module shares. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mtpfix.checkpoint.inventory import without_expert
from mtpfix.engines.alike import once
from mtpfix.engines.base import EngineCase
from mtpfix.model import Module
from mtpfix.quant.spelling import Demand, Spelling, demand

_COMMON = frozenset({"model", "language_model", "text_model", "layers", "backbone", "decoder"})
"""Words that many models call their own: they mark no MTP block, whoever else goes without."""


@dataclass(frozen=True)
class MtpNames:
    """The names that tell an MTP block from its target model.

    Attributes:
        draft: names of MTP modules, on disk and as engines ask about them, each with the number
            of its layer where it has one.
        roots: prefixes of MTP modules on disk, without the dot at their end.
        target: names of the target model's modules, on disk and as engines ask about them.
        given: prefixes that an engine says are the MTP block's, without the dot at their end.
    """

    draft: Mapping[str, int | None]
    roots: tuple[str, ...]
    target: frozenset[str]
    given: frozenset[str] = frozenset()

    @cached_property
    def prefixes(self) -> frozenset[str]:
        """Dotted beginnings of names that only MTP modules have, each the shortest of its kind."""
        ours = {word for name in (*self.draft, *self.roots) for word in name.split(".")}
        theirs = {word for name in self.target for word in name.split(".")}
        words = {word for word in ours - theirs - _COMMON if not word.isdecimal() and word != "*"}
        taken = {beginning for name in self.target for beginning in beginnings(name)}

        def marks(beginning: str, layer: int | None) -> bool:
            last = beginning.rpartition(".")[2]
            return beginning not in taken and (last in words or last == str(layer))

        found = {b for name, at in self.draft.items() for b in beginnings(name) if marks(b, at)}
        for root in self.roots:
            # What the policy has as a root is on disk the MTP block's alone, number and all.
            numbered = "." in root and root.rpartition(".")[2].isdecimal() and root not in taken
            found.update([root] if numbered else (b for b in beginnings(root) if marks(b, None)))
        found.update(self.given - taken)
        return frozenset(b for b in found if found.isdisjoint(list(beginnings(b))[:-1]))

    def prefix_of(self, name: str) -> str | None:
        """The beginning of a name that marks it as an MTP module's; None if it has none."""
        return next((b for b in beginnings(name) if b in self.prefixes), None)

    @cached_property
    def _tails(self) -> frozenset[str]:
        """The prefixes without their first words, as long as more than a number is left."""
        marked = self.prefixes - self.given
        tails = (tail for prefix in marked for tail in _tails(prefix) if not tail.isdecimal())
        return self.prefixes.intersection(self.given).union(tails)

    def covers(self, wanted: Demand, *, anywhere: bool, parts: bool) -> bool:
        """Whether only MTP names can meet a demand.

        Args:
            wanted: what an entry demands.
            anywhere: whether it may be met in the midst of a name, at the beginning of a word.
            parts: whether it may also end in the midst of a word.
        """
        text = wanted.text
        if not text or self._met_by_target(text, anywhere=anywhere, parts=parts):
            return False
        whole_name = wanted.ends != "open" or parts
        if whole_name and text in self.draft and text not in self.target:
            return True
        known = self._tails if anywhere else self.prefixes
        whole = text if wanted.ends != "open" else text.rpartition(".")[0]
        return any(beginning in known for beginning in beginnings(whole))

    def _met_by_target(self, text: str, *, anywhere: bool, parts: bool) -> bool:
        if parts:
            return any(text in name for name in self.target)
        return anywhere and any(f".{text}." in f".{name}." for name in self.target)


def beginnings(name: str) -> Iterator[str]:
    """Every dotted beginning of a name, the name itself last."""
    yield from (name[:at] for at, letter in enumerate(name) if letter == ".")
    if name:
        yield name


def _tails(name: str) -> Iterator[str]:
    """A name, and what is left of it without its first words."""
    yield name
    yield from (name[at + 1 :] for at, letter in enumerate(name) if letter == ".")


def shortest_root(
    name: str, names: MtpNames, spoilt: Iterable[str], *, anywhere: bool
) -> str | None:
    """The shortest prefix of MTP modules alone that begins `name` and hits no spoilt one.

    Args:
        name: an MTP module.
        names: what tells the MTP block from the target model.
        spoilt: names that may not be below the prefix, or hold it.
        anywhere: whether to hold it is enough.
    """
    marked = names.prefix_of(name)
    for beginning in list(beginnings(name))[:-1]:
        if marked is None or len(beginning) < len(marked):
            continue
        root = f"{beginning}."
        hits = (root in f"{o}." if anywhere else f"{o}.".startswith(root) for o in spoilt)
        if not any(hits):
            return root
    return None


def is_exact(entry: str, spelling: Spelling, names: MtpNames) -> bool:
    """Whether an entry names the MTP block and nothing wider."""
    wanted = demand(entry, spelling)
    if wanted is None:
        return False
    parts = spelling.syntax == "part"
    return names.covers(wanted, anywhere=parts or spelling.syntax == "component", parts=parts)


def fits_empty_name(entry: str, spelling: Spelling) -> bool:
    """Whether an entry is a pattern that fits the empty name and no other, as `re:^$`.

    An entry that is empty itself is none: to other readers it fits every name.
    """
    return bool(entry) and demand(entry, spelling) == Demand("", "whole")


def mtp_names(cases: Sequence[EngineCase], on_disk: Iterable[str]) -> MtpNames:
    """Collect the names of the MTP block and of the target model over several releases.

    Args:
        cases: the releases.
        on_disk: modules of the target model on disk, expert numbers left out.
    """
    draft: dict[str, int | None] = {}
    target: dict[str, None] = dict.fromkeys(on_disk)
    different = distinct_names(cases)
    for case in different:
        for module in case.draft:
            for name in _names(module, case.asked(module)):
                draft.setdefault(name, module.layer)
    for case in {(id(case.trunk), case.trunk_asked): case for case in different}.values():
        for module, asked in zip(case.trunk, case.trunk_asked, strict=True):
            target.update(dict.fromkeys(_names(module, asked)))
    roots = {root.removesuffix(".") for case in cases for root in case.disk_roots}
    given = frozenset(root.removesuffix(".") for case in cases for root in case.draft_roots)
    return MtpNames(draft, tuple(sorted(roots)), frozenset(target), given)


def distinct_names(cases: Sequence[EngineCase]) -> list[EngineCase]:
    """Return the first case of those that ask about the same modules by the same names."""

    def named(case: EngineCase) -> EngineCase:
        _ = case.trunk_asked, [case.asked(module) for module in case.draft]
        return case

    found = once(cases, lambda case: case.fingerprint(case.view), named)
    return list({id(case): case for case in found}.values())


def _names(module: Module, asked: Iterable[str]) -> Iterator[str]:
    """The names of a module, and those of its routed experts together."""
    for name in (module.name, *asked, *module.members, *module.stacked):
        if name:
            yield without_expert(name)
        head, star, _ = name.partition(".*.")
        if star:
            yield head
