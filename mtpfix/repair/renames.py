"""Other names for the scales of an MTP block: which could help, and files that have them. Pure.

Engines load a scale by the end of its name alone (`weight_scale`, `weight_scale_inv`). Which names
are right is not judged here but by trial (`mtpfix/changes/names.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import product

from mtpfix.checkpoint.document import STRING, JsonDocument, Node
from mtpfix.checkpoint.inventory import FLOATS, Inventory
from mtpfix.checkpoint.precision import Tensors, joined_name, precision, split_name
from mtpfix.checkpoint.strict_json import loads, shown
from mtpfix.errors import BrokenFileError, RefusedError
from mtpfix.model import Checkpoint, State, Tensor

_ALIGNED = 8
"""A header ends at a multiple of this, so that the data begin at one."""
_SCALES = FLOATS | {"F8_E8M0"}
"""Dtypes of scales whose value is what the bytes say, whatever they are cast to."""


@dataclass(frozen=True, slots=True)
class Renames:
    """Other names for tensors of an MTP block.

    Attributes:
        names: old -> new name.
        files: each file that holds one of them -> its header, as it was read.
        mixed: those of the files that hold tensors of the target model, too.
        in_place: whether the headers are edited where they are, or new files take their place.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    mixed: tuple[str, ...] = ()
    in_place: bool = False

    def __bool__(self) -> bool:
        return bool(self.names)

    def within(self, file: str) -> dict[str, str]:
        """Return the names that change in one file."""
        return {name: self.names[name] for name in self.files[file] if name in self.names}

    def ends(self, file: str) -> dict[tuple[str, str], int]:
        """Return the ends of names that change in one file, old and new, and how often."""
        found: dict[tuple[str, str], int] = {}
        for old, new in self.within(file).items():
            pair = split_name(old)[1], split_name(new)[1]
            found[pair] = found.get(pair, 0) + 1
        return found


def of(
    names: Mapping[str, str], checkpoint: Checkpoint, block: Collection[str], *, in_place: bool
) -> Renames:
    """Return renames with the files that they are about.

    Args:
        names: old -> new name.
        checkpoint: the files; those that hold the block have been opened.
        block: names of all tensors of the block.
        in_place: as for `Renames`.
    """
    held = {f: h for f, h in checkpoint.headers.items() if not names.keys().isdisjoint(h)}
    mixed = tuple(file for file, header in held.items() if not header.keys() <= set(block))
    return Renames(names, held, mixed, in_place)


# --- which names could help ------------------------------------------------------------


def candidates(
    inventory: Inventory, experts: Iterable[str], others: Iterable[str]
) -> list[dict[str, str]]:
    """Return renames that say nothing else of how a module is stored, the fewest first.

    Engines may load the scales of routed experts by another name than those of linear layers.

    Args:
        inventory: the tensors.
        experts: modules on disk that are routed experts.
        others: all other modules of the block.
    """
    ways = [
        [{}, *(_renamed(inventory, modules, number) for number in range(_WAYS))]
        for modules in (tuple(experts), tuple(others))
    ]
    found = {tuple((both := {**a, **b}).items()): both for a, b in product(*ways)}
    return sorted(filter(None, found.values()), key=len)


def _renamed(inventory: Inventory, modules: Iterable[str], number: int) -> dict[str, str]:
    """Return the renames of all scales of some modules to one of the names that are loaded."""
    return {
        joined_name(module, old): joined_name(module, new)
        for module in modules
        for old, new in _scale(inventory.tensors(module), number)
        if joined_name(module, new) not in inventory.names
    }


def _scale(tensors: Tensors, number: int) -> Iterator[tuple[str, str]]:
    """Yield the suffix of the scale of a module and a new one that says the same."""
    for row in _rows():
        there = [suffix for suffix in tensors if suffix in row.known]
        new = row.loaded[number]
        if len(there) == 1 and there[0] != new and _says_the_same(tensors, there[0], new, row):
            yield there[0], new


def _says_the_same(tensors: Tensors, old: str, new: str, row: _Row) -> bool:
    """Return whether a module is of the same format, by its shapes, under a new name of its scale.

    That the name alone makes a format of it does not count: what has a `weight_scale_inv` is taken
    for FP8 in blocks.
    """
    scale = tensors[old]
    if scale is None or scale.dtype not in _SCALES:
        return False
    by_shape, then = (
        precision({name if suffix == old else suffix: t for suffix, t in tensors.items()})
        for name in (row.loaded[0], new)
    )
    return then == by_shape and then.state is State.QUANTIZED and then.format is not None


@dataclass(frozen=True, slots=True)
class _Row:
    """Names of one scale.

    Attributes:
        loaded: those that engines load.
        known: all of them.
    """

    loaded: tuple[str, ...]
    known: frozenset[str]

    def beside(self, suffix: str) -> tuple[str, ...]:
        """Return the names that a scale may get in the place of a suffix; none of another row."""
        return tuple(new for new in self.loaded if new != suffix) if suffix in self.known else ()


_WAYS = 2
"""Names that each row has for a scale that is loaded."""


@cache
def _rows() -> tuple[_Row, ...]:
    text = (files("mtpfix.data") / "scale_names.json").read_text("utf-8")
    return tuple(
        _Row(tuple(row["loaded"]), frozenset((*row["loaded"], *row["also"])))
        for row in json.loads(text)["rows"]
    )


# --- files with other names -------------------------------------------------------------


def header(raw: bytes, names: Mapping[str, str], file: str) -> bytes:
    """Return a safetensors header with other names; where the data lie stays.

    Args:
        raw: the header, without the 8 bytes in front of it.
        names: old -> new name.
        file: for messages.

    Raises:
        RefusedError: two tensors would have one name.
        BrokenFileError: it is no JSON.
    """
    table = loads(raw, file)
    if not isinstance(table, dict):
        raise BrokenFileError(f"{shown(file)}: has a header that is no table of tensors")
    new = {names.get(name, name): entry for name, entry in table.items()}
    if len(new) != len(table):
        raise RefusedError(
            f"{shown(file)}: two tensors would have one name", "rename one of them by hand"
        )
    text = json.dumps(new, ensure_ascii=False, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % _ALIGNED)


def fitted(raw: bytes, names: Mapping[str, str], file: str) -> bytes:
    """Return `header` with exactly the bytes of the old one.

    Raises:
        RefusedError: it does not fit, or as for `header`.
    """
    new = header(raw, names, file).rstrip(b" ")
    if len(new) > len(raw):
        raise RefusedError(
            f"{file}: the header with other names has {len(new) - len(raw):,} bytes more than the "
            "old one, and the data begin right behind that; nothing was written",
            "--rename-tensors writes a new file, if the MTP block has one of its own",
        )
    return new.ljust(len(raw))


def index(raw: bytes, checkpoint: Checkpoint) -> bytes:
    """Return an index that calls tensors what the headers of their files call them.

    Only names are changed of which the file holds the same with another end.

    Args:
        raw: the index.
        checkpoint: the files, with the names that they have, or will have.
    """
    document = JsonDocument(raw)
    names = dict(_moved(document.value["weight_map"], checkpoint.headers))
    below = document.scan([("0", "weight_map", name) for name in names], Node(kind="["))
    keys = below.reach(("0", "weight_map")).children
    parts, end = [], 0
    for name in sorted(names, key=lambda name: keys[name].start):
        begin = keys[name].start
        parts += [raw[end:begin], json.dumps(names[name], ensure_ascii=raw.isascii()).encode()]
        old = _KEY.match(raw, begin)
        end = begin if old is None else old.end()
    return b"".join((*parts, raw[end:]))


_KEY = re.compile(STRING, re.DOTALL)


def _moved(
    named: Mapping[str, str], headers: Mapping[str, Mapping[str, Tensor]]
) -> Iterator[tuple[str, str]]:
    """Yield names of an index that a file holds with another end, old and new."""
    for name, file in named.items():
        held = headers.get(file)
        if held is not None and name not in held:
            module, suffix = split_name(name)
            others = (joined_name(module, each) for row in _rows() for each in row.beside(suffix))
            yield from ((name, each) for each in others if each in held and each not in named)
