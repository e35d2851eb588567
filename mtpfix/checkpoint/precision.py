"""How a module is stored, told from the tensors that belong to it.

The formats are data (`data/formats.json`); this module only knows how to ask a rule.
A rule answers yes, no or *cannot tell*: a shard that was not opened leaves a name
without a dtype, and an answer that rests on it stays open.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from math import prod
from typing import Any

from mtpfix.model import Precision, State, Tensor

Tensors = Mapping[str, Tensor | None]
"""Suffix -> header entry of one module; None where only the name is known."""

MISSING = Precision(State.MISSING)
MIXED = Precision(State.MIXED)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of `formats.json`; the comment in that file explains the fields."""

    state: State
    format: str | None
    has: frozenset[str]
    has_any: frozenset[str]
    lacks: frozenset[str]
    dtypes: Mapping[str, frozenset[str]]
    grain: tuple[str, str, str] | None
    ratio: tuple[str, str, int] | None

    def fits(self, tensors: Tensors) -> bool | None:
        """Whether the rule holds; None when a dtype or shape that decides is unknown."""
        names = tensors.keys()
        if not self.has <= names or not self.lacks.isdisjoint(names):
            return False
        if self.has_any and self.has_any.isdisjoint(names):
            return False
        answers: list[bool | None] = []
        for suffix, allowed in self.dtypes.items():
            tensor = tensors[suffix]
            answers.append(None if tensor is None else tensor.dtype in allowed)
        if self.grain:
            weight, scale = tensors[self.grain[0]], tensors[self.grain[1]]
            answers.append(weight and scale and grain(weight, scale) == self.grain[2])
        if self.ratio:
            one, other = tensors[self.ratio[0]], tensors[self.ratio[1]]
            answers.append(one and other and _last(one) == self.ratio[2] * _last(other))
        return False if False in answers else None if None in answers else True


@dataclass(frozen=True, slots=True)
class Formats:
    """The content of `formats.json`."""

    rules: tuple[Rule, ...]
    aliases: Mapping[str, str]
    marker: frozenset[str]
    weak: frozenset[str]
    suffixes: frozenset[str]
    """Every suffix that a tensor name may be cut at."""


def precision(tensors: Tensors) -> Precision:
    """Decides how one module is stored.

    Args:
        tensors: suffix -> header entry, as `split_name` cuts the names. A stacked tensor
            that carries the module's own name has the suffix "".

    Returns:
        State and format. The format is None where the tensors are of no known format, or
        where it rests on a dtype or shape that was not read. No weights at all (a bias, a
        scale of the KV cache) is MISSING; a weight in two forms at once is MIXED.
    """
    return _judge(frozenset((suffix, _facts(tensor)) for suffix, tensor in tensors.items()))


def combine(items: Iterable[Precision]) -> Precision:
    """Joins the members of a fused module, or experts, into one answer.

    Members that are missing are left out, unless all are. Quantized and unquantized members
    together are MIXED; different formats of one state are joined with "+", and a format
    that is not known leaves the joined one unknown.
    """
    found = {item for item in items if item.state is not State.MISSING}
    if not found:
        return MISSING
    states = {item.state for item in found}
    if len(states) > 1 or State.MIXED in states:
        return MIXED
    formats = {item.format for item in found}
    known = sorted(name for name in formats if name is not None)
    return Precision(states.pop(), "+".join(known) if len(known) == len(formats) else None)


@lru_cache(maxsize=4096)
def named_precision(suffixes: tuple[str, ...]) -> Precision:
    """`precision` of a module of whose tensors only the suffixes are known."""
    return _judge(frozenset((suffix, None) for suffix in suffixes))


def by_module(tensor_names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Module -> suffixes of its tensors, in the order of the names; see `split_name`."""
    known = _formats().suffixes
    # Modules are many, ways to be stored are few: each is made once, and shared.
    ways: dict[tuple[str, ...], tuple[str, ...]] = {}
    found: dict[str, tuple[str, ...]] = {}
    last: str | None = None
    own: list[str] = []

    def keep(module: str) -> None:
        way = (*found.get(module, ()), *own)
        found[module] = ways.setdefault(way, way)

    for name in tensor_names:  # those of one module mostly stand together
        module, _, suffix = name.rpartition(".")
        if suffix not in known:
            module, suffix = split_name(name)
        if module == last:
            own.append(suffix)
            continue
        if last is not None:
            keep(last)
        last, own = module, [suffix]
    if last is not None:
        keep(last)
    return found


def split_name(tensor_name: str) -> tuple[str, str]:
    """Cuts a tensor name into the module and the suffix that `precision` understands.

    `a.q_proj.weight` -> (`a.q_proj`, `weight`); suffixes with dots in them stay whole
    (`weight.absmax`). A last part that is no parameter name belongs to the module, as in a
    stacked tensor: `mlp.experts.down_proj` -> (itself, ""); and what such a tensor has
    beside it keeps its underscore: `mlp.experts.down_proj_blocks` -> (..., `_blocks`).
    """
    known = _formats().suffixes
    module, _, last = tensor_name.rpartition(".")
    if last in known:
        return module, last
    head, found, rest = tensor_name.rpartition(".weight.")
    if found and f"weight.{rest}" in known:
        return head, f"weight.{rest}"
    _, found, rest = last.partition("_proj_")
    if found and f"_{rest}" in known:
        return tensor_name[: -len(rest) - 1], f"_{rest}"
    return tensor_name, ""


def joined_name(module: str, suffix: str) -> str:
    """The tensor name that `split_name` cut."""
    return f"{module}{suffix}" if suffix[:1] in ("", "_") else f"{module}.{suffix}"


def grain(weight: Tensor, scale: Tensor) -> str | None:
    """What one element of a scale covers: `tensor`, `channel`, `group`, `block`, or unknown.

    A channel is an output row; a group is a part of a row; a block spans rows and columns.
    In stacked weights the first dimension counts experts, and is looked past.
    """
    rows, parts = weight.shape, scale.shape
    if len(rows) == 3 and parts[:1] == rows[:1]:  # noqa: PLR2004 - experts, rows, columns
        rows, parts = rows[1:], parts[1:]
    if len(rows) != 2:  # noqa: PLR2004
        return None
    if len(parts) == 4:  # noqa: PLR2004 - [rows / block, 1, columns / block, 1]
        parts = parts[::2]
    if prod(parts) == 1 and (len(parts) < 2 or rows[0] != 1):  # noqa: PLR2004
        return "tensor"
    if parts in ((rows[0],), (rows[0], 1)):
        return "channel"
    if len(parts) != 2 or parts[1] >= rows[1]:  # noqa: PLR2004
        return None
    return "group" if parts[0] == rows[0] else "block" if parts[0] < rows[0] else None


def _facts(tensor: Tensor | None) -> Tensor | None:
    # Offsets differ from module to module; without them a model has a few dozen cases.
    return None if tensor is None else Tensor(tensor.dtype, tensor.shape, 0, 0)


def _last(tensor: Tensor) -> int:
    return tensor.shape[-1] if tensor.shape else 1


@lru_cache(maxsize=4096)
def _judge(items: frozenset[tuple[str, Tensor | None]]) -> Precision:
    formats = _formats()
    tensors = {formats.aliases.get(suffix, suffix): tensor for suffix, tensor in items}
    fitting: list[Rule] = []
    for rule in formats.rules:
        answer = rule.fits(tensors)
        if answer is not False:
            fitting.append(rule)
        if answer:
            break
    # A conflict that is only possible does not stand against a plain explanation.
    rules = [rule for rule in fitting if rule.state is not State.MIXED] or fitting
    if len({rule.state for rule in rules}) == 1:
        names = {rule.format for rule in rules}
        return Precision(rules[0].state, names.pop() if len(names) == 1 else None)
    return _by_names(tensors, formats)


def _by_names(tensors: Tensors, formats: Formats) -> Precision:
    """The answer where no rule gives one state: the names that are there, and no format."""
    names = tensors.keys()
    if not formats.marker.isdisjoint(names):
        return Precision(State.QUANTIZED)
    if "weight" not in names:
        return MISSING
    quantized = not formats.weak.isdisjoint(names)
    return Precision(State.QUANTIZED if quantized else State.UNQUANTIZED)


@lru_cache(maxsize=1)
def _formats() -> Formats:
    raw = json.loads((files("mtpfix") / "data" / "formats.json").read_text("utf-8"))
    groups: dict[str, list[str]] = raw["groups"]

    def names(items: Iterable[str]) -> frozenset[str]:
        return frozenset(name for item in items for name in groups.get(item, [item]))

    def rule(row: Mapping[str, Any]) -> Rule:
        return Rule(
            state=State(row["state"]),
            format=row.get("format"),
            has=frozenset(row["has"]),
            has_any=names(row.get("has_any", ())),
            lacks=names(row.get("lacks", ())),
            dtypes={suffix: names(dtypes) for suffix, dtypes in row.get("dtypes", {}).items()},
            grain=tuple(row["grain"]) if "grain" in row else None,
            ratio=tuple(row["ratio"]) if "ratio" in row else None,
        )

    aliases: dict[str, str] = raw["aliases"]
    return Formats(
        rules=tuple(rule(row) for row in raw["rules"]),
        aliases=aliases,
        marker=names(["marker"]),
        weak=names(["weak"]),
        suffixes=names(["marker", "weak", "neutral", "weight"]) | aliases.keys() - {""},
    )
