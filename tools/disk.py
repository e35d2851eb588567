"""How vLLM's parameters are named and cut on disk, by `names` in the `tiny.json` of a family.

`draft` and `trunk` are regex substitutions of one part of the model, in order; a replacement of
null drops the tensor; a draft layer is written N0, N1, ... Before that, `experts` names the
weights of an expert (gate, up, down; null where there is no gate), `fused` the parts of a fused
layer with the rows of each (an expression over the text configuration; parts of null share the
rest), `rescaled` the ends of names that vLLM multiplies by a constant once loaded, and `pieces`
renames or shortens single parameters (pattern, replacement, rows).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mtpfix.engines.policies.expression import Expression
from tools import tiny

if TYPE_CHECKING:
    from collections.abc import Iterable

Shape = tuple[int, ...]
Tensors = dict[str, tuple[Shape, str]]
"""Name -> shape and dtype."""

EXPERTS = ("gate_proj", "up_proj", "down_proj")
"""Names of an expert's weights where the family has no others."""


def on_disk(parameters: Tensors, part: str, family: str, config: tiny.Config) -> Tensors:
    """The tensors on disk that fill the parameters of one part of the model.

    Args:
        parameters: vLLM's parameters of an unquantized model.
        part: `trunk` or `draft`.
        family: the family of the model.
        config: its configuration.
    """
    tensors: Tensors = {}
    for name, (shape, dtype) in parameters.items():
        for piece, piece_shape in cut(name, shape, family, tiny.text(config)):
            renamed = rename(piece, part, family, tiny.text(config)["num_hidden_layers"])
            if renamed is not None:
                tensors[renamed] = (piece_shape, dtype)
    return tensors


def rename(name: str, part: str, family: str, layers: int) -> str | None:
    """The name on disk of one piece; None for what is not stored."""
    if part == "draft":
        name = re.sub(r"(?<=layers\.)(\d+)(?=\.)", lambda m: draft_index(m[1], layers), name)
    for pattern, replacement in tiny.names(family).get(part, ()):
        if replacement is None:
            if re.search(pattern, name):
                return None
        else:
            name = re.sub(pattern, replacement, name)
    return re.sub(r"\bN(\d)\b", lambda m: str(layers + int(m[1])), name)


def draft_index(number: str, layers: int) -> str:
    """`N0` for the first layer past the trunk, `N1` for the next; smaller numbers stay."""
    past = int(number) - layers
    return f"N{past}" if past >= 0 else number


def cut(name: str, shape: Shape, family: str, text: tiny.Config) -> list[tuple[str, Shape]]:
    """The pieces that one parameter is stored in, by module names that vLLM still uses."""
    experts = re.fullmatch(r"(.*)\.routed_experts\.(w13|w2)_weight", name)
    if experts:
        return cut_experts(experts[1], experts[2], shape, family)
    for fused, parts in fused_layers(family).items():
        if f".{fused}." in name:
            rows = part_rows(tuple(parts.values()), shape[0], text)
            return [
                (name.replace(fused, part), (count, *shape[1:]))
                for part, count in zip(parts, rows, strict=True)
                if count
            ]
    for pattern, replacement, rows in tiny.names(family).get("pieces", ()):
        if re.search(pattern, name):
            first = Expression(rows).value(text) if rows else shape[0]
            return [(re.sub(pattern, replacement, name), (first, *shape[1:]))]
    return [(name, shape)]


def rescaled(family: str) -> tuple[str, ...]:
    """Ends of names that vLLM multiplies by a constant after it has loaded them, by design."""
    return tuple(tiny.names(family).get("rescaled", ("\0",)))


def expert_names(family: str) -> tuple[str | None, str, str]:
    """What the weights of an expert are called; None for a gate that does not exist."""
    gate, up, down = tiny.names(family).get("experts", EXPERTS)
    return gate, up, down


def cut_experts(base: str, which: str, shape: Shape, family: str) -> list[tuple[str, Shape]]:
    """The weights of each expert."""
    gate, up, down = expert_names(family)
    count, rows, columns = shape
    if which == "w2":
        return [(f"{base}.{i}.{down}.weight", (rows, columns)) for i in range(count)]
    names = [name for name in (gate, up) if name is not None]
    part = (rows // len(names), columns)
    return [(f"{base}.{i}.{name}.weight", part) for i in range(count) for name in names]


def fused_layers(family: str) -> dict[str, dict[str, str | None]]:
    """Fused layers: the parts that they are stored as, and how many rows each has.

    The family's own come first, in their order: one may name a single layer of the model.
    """
    own: dict[str, dict[str, str | None]] = tiny.names(family).get("fused", {})
    return {**own, **tiny.shared()["fused"], **own}


def part_rows(sizes: tuple[str | None, ...], rows: int, text: tiny.Config) -> Iterable[int]:
    """How many rows each part of a fused layer has; parts without a size share the rest."""
    known = [None if size is None else int(Expression(size).value(text)) for size in sizes]
    rest = rows - sum(count for count in known if count is not None)
    share = rest // max(1, known.count(None))
    return [share if count is None else count for count in known]
