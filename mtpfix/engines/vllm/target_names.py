"""Tensors of the target model that none of its modules takes. Pure.

Modules of the target are known as far as they can be quantized; norms and the like are not. So
only such tensors are looked at as must belong to a module: those that are quantized, below the
layers whose modules are known, and the matrices of routed experts by whatever name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from mtpfix.checkpoint.inventory import Inventory, without_expert
from mtpfix.checkpoint.precision import split_name
from mtpfix.engines.vllm.loader import Loader
from mtpfix.engines.vllm.records.loader import TargetLoaderRow
from mtpfix.model import Module, State, TargetStray

_EXPERTS = ".experts."


class TargetModel(NamedTuple):
    """The target model of a case.

    Attributes:
        modules: its modules.
        layers: beginnings of the names of its layers on disk -> in the module tree.
        draft: the loader of the draft: it tells which parts make up fused layers.
        row: what the target's loader does with such tensors; None: that is not known.
        gone: suffixes that it drops before anything is loaded.
    """

    modules: Sequence[Module]
    layers: Mapping[str, str]
    draft: Loader
    row: TargetLoaderRow | None
    gone: Collection[str]


def target_strays(inventory: Inventory, target: TargetModel) -> tuple[TargetStray, ...]:
    """Return the tensors that no module of the target takes, as far as its modules are known."""
    claimed, found = frozenset(_claimed(target)), list[TargetStray]()
    experts = {module.members[0].partition("*")[0]: module for module in _experts(target)}
    for group in inventory.below(tuple(target.layers)):
        name = without_expert(group[0])
        state = inventory.named(group[0]).state
        if name in claimed or state is State.MISSING:
            continue
        head, inside, rest = name.partition(_EXPERTS)
        owner = experts.get(head + inside)
        if owner is not None and rest.partition(".")[0] in _matrices(owner):
            lost = inventory.stored(owner).precision.state is State.MISSING
        elif state is State.UNQUANTIZED or _respelled(name, claimed, target.draft):
            continue
        else:
            lost = False
        for module in group:
            for _, tensor in inventory.tensor_names(module):
                fate = _fate(tensor, owner, target)
                found.append(TargetStray(tensor, *fate, lost))
    return tuple(found)


def _experts(target: TargetModel) -> Iterator[Module]:
    """Yield the routed experts that are stored one by one."""
    for module in target.modules:
        if module.kind == "experts" and module.members and "*" in module.members[0]:
            yield module


def _matrices(module: Module) -> frozenset[str]:
    """Return what the matrices of routed experts are called: of one expert, and of all."""
    return frozenset(name.rpartition(".")[2] for name in (*module.members, *module.stacked))


def _claimed(target: TargetModel) -> Iterator[str]:
    """Yield the names on disk that a module is loaded from.

    Also those that vLLM has for it, below the layer's name on disk: its loaders take both.
    """
    paths = {param: disk for disk, param in target.layers.items()}
    for module in target.modules:
        last = module.param.rpartition(".")[2]
        yield from (*module.members, *module.stacked)
        parts = [member.rpartition(".") for member in module.members if "*" not in member]
        yield from (f"{head}.{last}" for head, _, _ in parts)
        root = next((path for path in _beginnings(module.param) if path in paths), None)
        if root is not None:
            own = paths[root] + module.param[len(root) :]
            yield own
            if module.kind == "experts":
                yield from (f"{own}.*.{part}" for part in _matrices(module))
            yield from (f"{own.rpartition('.')[0]}.{part}" for _, _, part in parts)


def _beginnings(path: str) -> Iterator[str]:
    """Yield every beginning of a path that ends in a dot, the longest first."""
    while path:
        path = path.rstrip(".").rpartition(".")[0]
        yield f"{path}."
        if not path:
            return


def _respelled(name: str, claimed: Collection[str], draft: Loader) -> bool:
    """Return whether a name is that of a part of a layer that is known as a whole."""
    pairs = ((part, whole) for part, whole in draft.stacked if part in name)
    return any(name.replace(part, whole) in claimed for part, whole in pairs)


def _fate(
    tensor: str, owner: Module | None, target: TargetModel
) -> tuple[Literal["raises", "dropped", "unknown"], str | None]:
    """Return what becomes of a tensor that nothing takes, and the exception where there is one."""
    if target.row is None:
        return "unknown", None
    error = None if split_name(tensor)[1] in target.gone else _error(tensor, owner, target.row)
    return ("dropped" if error is None else "raises"), error


def _error(tensor: str, owner: Module | None, row: TargetLoaderRow) -> str | None:
    """Return what the loader raises at a tensor; None: it drops it."""
    if owner is not None:
        matrix, _, rest = tensor.partition(_EXPERTS)[2].partition(".")
        whole = row.fused_experts.get(matrix)
        if whole is not None and row.style == "dict":
            return f"KeyError: '…{whole}.{rest}'"
        if whole is not None:
            return f"AttributeError: …'{whole}.{rest}'"
        if row.experts is not None or row.style == "auto":
            return row.experts
    if row.drops:
        return None
    if row.style == "dict":
        return f"KeyError: '…{tensor.rpartition('.')[2]}'"
    return f"ValueError: There is no module or parameter named '…' in {row.cls}"
