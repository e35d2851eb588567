"""Where the draft's loader puts each tensor of the MTP block. Pure.

vLLM renames a tensor on the way to its parameter: it moves layers below the module that they
have in its tree, and loads the parts of a fused layer into one parameter. A name that leads to
no parameter is dropped, or ends the load with an exception. Each release has rules of its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

from mtpfix.checkpoint.inventory import Inventory, written_out
from mtpfix.checkpoint.precision import split_name
from mtpfix.engines.vllm.loader import CACHE_SCALES, Loader
from mtpfix.model import Module, Plain, Stray

APART = frozenset({"e_score_correction_bias", "expert_bias"})
"""Ends of names of what a router has beside its weight, if it has it at all."""


class Destination(NamedTuple):
    """Where one tensor goes.

    Attributes:
        module: the module that takes it, or None.
        plain: the parameter outside the modules that takes it, or None.
        path: the parameter that it is loaded into, if a module takes it.
        part: the name of a part of a fused layer, where the tensor is one; else empty.
        raises: whether the loader fails at the tensor.
        error: what it raises then, `Type: message`; None: that is not known.
    """

    module: Module | None = None
    plain: Plain | None = None
    path: str = ""
    part: str = ""
    raises: bool = False
    error: str | None = None


DROPPED = Destination()
"""Where a tensor goes that the loader passes over."""


@dataclass(frozen=True)
class Tree:
    """The parameters of a draft, by their paths.

    Attributes:
        modules: path -> module; routed experts are not among them.
        plain: path -> parameter outside the modules.
        experts: paths of routed experts.
    """

    modules: Mapping[str, Module]
    plain: Mapping[str, Plain]
    experts: tuple[str, ...] = ()

    @classmethod
    def of(cls, modules: Iterable[Module], plain: Iterable[Plain]) -> Tree:
        """The tree of a draft with these modules and other parameters."""
        inside = [module for module in modules if module.param and module.members]
        own = {module.param: module for module in inside if module.kind != "experts"}
        experts = tuple(f"{module.param}." for module in inside if module.kind == "experts")
        return cls(own, {each.param: each for each in plain}, experts)

    def find(self, path: str, part: str = "") -> Destination | None:
        """What takes a tensor with the path of a parameter, if anything does."""
        if path in self.plain:
            return Destination(plain=self.plain[path])
        owner, _, last = path.rpartition(".")
        module = self.modules.get(owner)
        if module is None or not (split_name(path)[1] or last in APART):
            return None
        return Destination(module=module, path=path, part=part)

    @cached_property
    def branches(self) -> frozenset[str]:
        """The paths of everything in the tree, leaves and what they stand below."""
        return frozenset(_branches((*self.modules, *self.plain, *self.experts)))


def destination(name: str, tree: Tree, loader: Loader) -> Destination:
    """Where the loader puts a tensor that no row of the policy names.

    Args:
        name: the tensor on disk.
        tree: the parameters of the draft.
        loader: the rules of the release.
    """
    if dropped(name, loader):
        return DROPPED
    path = moved(name, loader)
    fused, part = _stacked(path, tree, loader)
    found = tree.find(fused, part)
    if found is None and (loader.own_names or _unfused(path, loader)):
        found = tree.find(path)
    return found or _nowhere(name, fused, tree, loader)


def _nowhere(name: str, path: str, tree: Tree, loader: Loader) -> Destination:
    """What becomes of a tensor whose path leads to no parameter."""
    last = _first_absent(path, tree) if loader.style == "auto" else path
    inside = path.startswith(tree.experts) if loader.style == "auto" else ".experts." in path
    strange = loader.strange_experts and inside
    if loader.drops or strange or last.endswith(loader.bare):
        return DROPPED
    if loader.style == "auto":
        return Destination(raises=True, error=_no_such(last, loader))
    return Destination(raises=True, error=_refusal(name, path, loader))


def _no_such(path: str, loader: Loader) -> str:
    """What AutoWeightsLoader raises; a class with a loader of its own prints what is below it."""
    shown, cls = path.removeprefix(loader.root), loader.cls
    for pattern, inner in loader.inner:
        found = _compiled(pattern).match(path)
        if found is not None:
            shown, cls = path[found.end() :], inner
    return f"ValueError: There is no module or parameter named {shown!r} in {cls}"


def failure(name: str, loader: Loader) -> Destination | None:
    """What the loader raises at a tensor because of its name alone, if it does."""
    for pattern, error in loader.raises:
        if _compiled(pattern).search(name):
            return Destination(raises=True, error=error)
    return None


def dropped(name: str, loader: Loader) -> bool:
    """Whether the loader passes over a tensor because of its name alone."""
    return any(_compiled(pattern).search(name) for pattern in loader.passed_over)


def _is_cache_scale(name: str, around: Collection[str], loader: Loader) -> bool:
    """Whether a tensor is a scale of the KV cache that the loader takes, or drops as one.

    Args:
        name: the tensor.
        around: modules on disk that the draft knows, and what they stand below.
        loader: the rules of the release.
    """
    place, _, last = name.rpartition(".")
    beside = loader.cache_scales == "beside" and place in around
    return last in CACHE_SCALES and (loader.cache_scales == "taken" or beside)


def moved(name: str, loader: Loader) -> str:
    """The path in the module tree that the loader makes of a name on disk."""
    for pattern, replacement in loader.paths:
        name = _compiled(pattern).sub(replacement, name)
    return name


def _stacked(path: str, tree: Tree, loader: Loader) -> tuple[str, str]:
    """The path with the name of a part replaced by that of the fused layer, and the part."""
    if ".experts." in path:
        return path, ""
    first = ""
    for part, whole in loader.stacked:
        if part in path:
            path, first = path.replace(part, whole), first or part
            if not loader.chained or tree.find(path) is not None:
                break
    return path, first


def _unfused(path: str, loader: Loader) -> bool:
    """Whether a part keeps its name where the model is built without the fused layer."""
    wholes = [whole for part, whole in loader.stacked if part in path]
    return all(whole.removeprefix(".") in loader.unfused for whole in wholes)


def _refusal(name: str, path: str, loader: Loader) -> str | None:
    """What a loader raises that knows its parameters by their whole paths."""
    if loader.style == "unknown":
        return None
    if loader.unexpected:
        return loader.unexpected.replace("{tensor}", name)
    return f"KeyError: {path.removeprefix(loader.root)!r}"


def _first_absent(path: str, tree: Tree) -> str:
    """The shortest beginning of a path that leads nowhere: the tree is walked from its root."""
    return next((branch for branch in _branches([path]) if branch not in tree.branches), path)


def _branches(paths: Iterable[str]) -> Iterator[str]:
    """Every beginning of some paths, the shortest first."""
    for path in paths:
        parts = path.rstrip(".").split(".")
        yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of the package's own data."""
    return re.compile(pattern)


# --- a whole block -------------------------------------------------------------


class Respelled(NamedTuple):
    """Modules on disk that the loader takes for one of the engine's, by names of their own."""

    members: tuple[str, ...]
    whole: bool
    """Whether nothing of the module is missing."""


@dataclass(frozen=True)
class Placement:
    """What becomes of the tensors of an MTP block.

    Attributes:
        respelled: path of a module in the tree -> what is loaded into it by other names.
        strays: tensors that nothing takes.
        passed_over: modules on disk that the loader drops because of their names.
        unfilled: parameters outside the modules that no tensor fills, or not entirely.
        untouched: those of them that no tensor fills.
    """

    respelled: Mapping[str, Respelled]
    strays: tuple[Stray, ...] = ()
    passed_over: frozenset[str] = frozenset()
    unfilled: tuple[Plain, ...] = ()
    untouched: tuple[Plain, ...] = ()


NOTHING = Placement({})
"""Of a draft that has no block."""


def follow_names(
    inventory: Inventory,
    roots: tuple[str, ...],
    modules: Sequence[Module],
    plain: Sequence[Plain],
    loader: Loader,
) -> Placement:
    """Follows every tensor of an MTP block; one routed expert stands for all.

    Args:
        inventory: what is on disk.
        roots: what names of tensors in the block begin with.
        modules: those of the draft.
        plain: its parameters outside them.
        loader: the rules of the release.
    """
    tree = Tree.of(modules, plain)
    claimed = {name for module in modules for name in written_out(module)}
    around = claimed | {name.rpartition(".")[0] for name in claimed}
    named = {each.name: Destination(plain=each) for each in plain}
    parts: dict[str, set[Plain | None]] = {}
    for each in plain:
        parts.setdefault(each.param, set()).add(each)
    filled = {named[name].plain for name in named.keys() & inventory.names}
    over: set[str] = set()
    strays: list[Stray] = []
    found: dict[str, dict[str, str]] = {}
    for group in inventory.below(roots):
        first = next((name for name in group if name not in claimed), group[0])
        for _, name in inventory.tensor_names(first):
            fails = failure(name, loader)
            if fails is None and _is_cache_scale(name, around, loader):
                continue  # the attention takes it, or nothing does and nobody minds
            if fails is None and dropped(name, loader):
                over.update(group)
                filled.discard(named.get(name, DROPPED).plain)
                continue
            goes = fails or named.get(name) or destination(name, tree, loader)
            path = moved(name, loader)
            whole = goes.plain is not None and name not in named and path == goes.plain.param
            filled |= parts[path] if whole else {goes.plain}
            if first in claimed and fails is None:
                continue  # the rows of the policy say what becomes of it
            if goes.module is not None and split_name(name)[1]:
                found.setdefault(goes.module.param, {}).setdefault(first, goes.part)
            elif goes.raises or (goes == DROPPED and not name.endswith(".bias")):
                strays.append(Stray(name, goes.raises, goes.error))
    respelled = {
        param: _respelled(tree.modules[param], parts, inventory, loader)
        for param, parts in found.items()
    }
    unfilled = tuple(each for each in plain if each not in filled and not each.optional)
    touched = {each.param for each in filled if each is not None}
    untouched = tuple(each for each in unfilled if each.param not in touched)
    return Placement(respelled, tuple(strays), frozenset(over), unfilled, untouched)


def _respelled(
    module: Module, parts: Mapping[str, str], inventory: Inventory, loader: Loader
) -> Respelled:
    """What fills a module by other names than the policy's."""
    last = module.param.rpartition(".")[2]
    needed = {
        part.removeprefix(".") for part, whole in loader.stacked if whole.removeprefix(".") == last
    }
    present = {part.removeprefix(".") for part in parts.values()}
    present |= {name.rpartition(".")[2] for name in module.members if name in inventory}
    return Respelled(tuple(parts), "" in present or needed <= present)
