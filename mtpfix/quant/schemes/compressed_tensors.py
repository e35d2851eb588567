"""compressed-tensors: config groups, each with a scheme and the targets that have it. Pure.

The first target that fits a name decides, by the order of the groups, before targets that are
names of classes. So a group of an MTP block goes behind the others, and where one of those fits
first, before them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from mtpfix.checkpoint.packing import CHANNEL
from mtpfix.checkpoint.scheme import Scheme
from mtpfix.model import Edit, Json, QuantView
from mtpfix.quant.location import escape
from mtpfix.quant.schemes import table
from mtpfix.quant.schemes.share import Block, Proposal, Share
from mtpfix.quant.spelling import anchored

_NAME = "mtp"
"""What a new group is called."""
_NUMBERED = re.compile(r"(.*?\.)(\d+)(\..*)")
"""A name with the number of a layer: what stands before it, the number, what stands behind it."""
MIXED = "mixed-precision"
"""The format of metadata whose groups have formats of their own."""


def proposals(block: Block) -> Iterator[Proposal]:
    """Yield what config groups can say of the block, the fewest edits first."""
    shares = [share for share in block.quantized if share.scheme and _group(share.scheme)]
    if not shares:
        return
    for number in range(len(shares[0].selectors)):
        targets = [share.selectors[number] for share in shares]
        for known in (True, False):
            made = _made(block.view, shares, targets, known=known)
            yield Proposal(tuple(_edits(block.view, made)), made.schemes, made.entries)
        yield Proposal(tuple(_edits(block.view, made, first=True)), made.schemes, made.entries)


def wider_targets(view: QuantView, found: Scheme, names: Iterable[str]) -> Proposal | None:
    """Return the targets that a group which has a scheme lacks; None: no group has it.

    Args:
        view: the metadata.
        found: how some modules are stored.
        names: what engines ask about them by; those that end in a dot stand for all below them.
    """
    wanted = _group(found)
    groups: Mapping[str, Json] = view.raw.get("config_groups") or {}
    same = (name for name, has in groups.items() if wanted and _says(has, view, wanted))
    name = next(same, None)
    if name is None:
        return None
    targets = [each for each in _closed(names) if each not in groups[name]["targets"]]
    place = f"{view.pointer}/config_groups/{escape(name)}/targets/-"
    edits = tuple(Edit(view.file, place, "add", target) for target in targets)
    return Proposal(edits, (_in_words(found, name, targets),), len(targets))


def _closed(names: Iterable[str]) -> Iterator[str]:
    """Yield targets that fit some names and no other; those of many layers share one."""
    layers: dict[tuple[str, str], set[str]] = {}
    for name in names:
        split = _NUMBERED.fullmatch(name)
        head, number, rest = split.groups() if split else (name, "", "")
        layers.setdefault((head, rest), set()).add(number)
    for (head, rest), numbers in layers.items():
        first, *others = sorted(numbers, key=lambda number: int(number or 0))
        target = spell(f"{head}{first}{rest}")
        if others:
            start = spell(f"{head}{first}.").removesuffix(rf"{first}\..*")
            every = "|".join((first, *others))
            target = f"{start}(?:{every}){target.removeprefix(f'{start}{first}')}"
        yield target


class _Groups:
    """The groups as they would be, and what is new in them.

    Attributes:
        extended: name of a group -> the targets that it gets.
        new: name of a new group -> what it says.
        schemes: what the block is given, in words.
    """

    def __init__(self) -> None:
        self.extended: dict[str, list[str]] = {}
        self.new: dict[str, dict[str, Json]] = {}
        self.schemes: tuple[str, ...] = ()

    @property
    def entries(self) -> int:
        """How many targets are new."""
        new = (group["targets"] for group in self.new.values())
        return sum(map(len, (*self.extended.values(), *new)))


def _made(
    view: QuantView, shares: Sequence[Share], targets: Sequence[Sequence[str]], *, known: bool
) -> _Groups:
    """Return the groups that give each share its scheme.

    Args:
        view: the metadata.
        shares: what is stored alike.
        targets: the names of each share, those that end in a dot for all below them.
        known: whether a group that has the scheme already gets the targets.
    """
    groups: Mapping[str, Json] = view.raw.get("config_groups") or {}
    made = _Groups()
    for share, names in zip(shares, targets, strict=True):
        group = None if share.scheme is None else _group(share.scheme)
        if share.scheme is None or group is None or not names:
            continue
        spelled = [spell(name) for name in names]
        same = (name for name, has in groups.items() if known and _says(has, view, group))
        name = next(same, None)
        if name is not None:
            have = groups[name].get("targets") or ()
            made.extended[name] = [target for target in spelled if target not in have]
        else:
            name = free_name({**groups, **made.new})
            made.new[name] = {"format": group["format"], "targets": spelled, **group}
        made.schemes += (_in_words(share.scheme, name, spelled),)
    return made


def _in_words(found: Scheme, group: str, targets: Iterable[str]) -> str:
    listed = ", ".join(f"`{target}`" for target in targets)
    return f"{found.format}: config group `{group}` for {listed}"


def spell(name: str) -> str:
    """Return the target for a name, or for all below a prefix; no name mapper touches it."""
    return anchored(name, "re:")


def _edits(view: QuantView, made: _Groups, *, first: bool = False) -> Iterator[Edit]:
    """Yield the edits that make the groups.

    A group of another format than the rest takes effect only where the whole is of mixed precision
    and each group says its own format.
    """
    groups: Mapping[str, Json] = view.raw.get("config_groups") or {}
    place = f"{view.pointer}/config_groups"
    formats = {group["format"] for group in made.new.values()}
    mixed = bool(made.new) and formats != {view.format}
    if mixed and view.format != MIXED:
        yield Edit(view.file, f"{view.pointer}/format", "add", MIXED)
    if first:
        old = {n: _with_format(g, view.format if mixed else None) for n, g in groups.items()}
        yield Edit(view.file, place, "add", {**made.new, **old})
        return
    for name, group in groups.items():
        if mixed and _with_format(group, view.format) != group:
            yield Edit(view.file, f"{place}/{escape(name)}/format", "add", view.format)
        for target in made.extended.get(name, ()):
            yield Edit(view.file, f"{place}/{escape(name)}/targets/-", "add", target)
    for name, group in made.new.items():
        yield Edit(view.file, f"{place}/{name}", "add", group)


def _with_format(group: Json, stated: str | None) -> Json:
    """Return a group that says its own format, if there is one for all that it relied on."""
    if stated in (None, MIXED) or not isinstance(group, Mapping) or "format" in group:
        return group
    return {**group, "format": stated}


def free_name(groups: Collection[str]) -> str:
    """Return what a new group beside others is called."""
    names = itertools.chain((_NAME,), (f"{_NAME}_{number}" for number in itertools.count(1)))
    return next(name for name in names if name not in groups)


# --- what a group says --------------------------------------------------------------


def _group(found: Scheme) -> dict[str, Json] | None:
    """Return the format, the weights and the activations of a group for a scheme, if it has one."""
    row = _row(found)
    if row is None:
        return None
    weights: dict[str, Json] = {**row["weights"], "symmetric": True, "dynamic": False}
    if found.block is not None:
        weights["block_structure"] = list(found.block)
    if found.packing is not None:
        whole = found.packing.group_size == CHANNEL
        weights |= {"num_bits": found.packing.bits, "symmetric": found.symmetric}
        weights |= {"strategy": "channel"} if whole else {"strategy": "group"}
        weights |= {} if whole else {"group_size": found.packing.group_size}
        weights |= {"actorder": "group"} if found.ordered else {}
    inputs = row["input_activations"]
    inputs = inputs if inputs is None else {"symmetric": True, **inputs}
    return {
        "format": row["format"],
        "weights": weights,
        "input_activations": inputs,
        "output_activations": None,
    }


def _row(found: Scheme) -> Mapping[str, Json] | None:
    """Return what is known of a scheme; None: no group of compressed-tensors can say it."""
    unclear = found.format == "int-pack" and found.packing is None
    return None if unclear else table.row("compressed_tensors", found)


_SAID = ("num_bits", "type", "strategy", "group_size", "symmetric", "block_structure", "actorder")


def _says(group: Json, view: QuantView, wanted: Mapping[str, Json]) -> bool:
    """Return whether a group of the file gives modules the wanted scheme."""
    if not isinstance(group, Mapping) or not isinstance(group.get("weights"), Mapping):
        return False
    if not isinstance(group.get("targets"), list):
        return False
    if (group.get("format") or view.format) != wanted["format"]:
        return False
    inputs, ours = group.get("input_activations"), wanted["input_activations"]
    if (inputs is None) != (ours is None):
        return False
    static = isinstance(inputs, Mapping) and inputs.get("dynamic", False) is False
    if ours is not None and static != (ours.get("dynamic", False) is False):
        return False
    return _numbers(group["weights"]) == _numbers(wanted["weights"])


def _numbers(weights: Mapping[str, Json]) -> dict[str, Json]:
    found = {key: weights[key] for key in _SAID if weights.get(key) is not None}
    found.setdefault("symmetric", True)
    size = found.get("group_size")
    if size == CHANNEL:
        del found["group_size"]
    whole = "channel" if size == CHANNEL else "tensor" if size is None else "group"
    found.setdefault("strategy", whole)
    return found
