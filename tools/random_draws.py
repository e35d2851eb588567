"""Random checkpoints: what is drawn of each, for an engine that will load it."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mtpfix.engines.policies import construction
from mtpfix.engines.vllm import policy
from tools import disk, schemes, tiny
from tools.forge import NONE, SCHEMES, Mtp, forge
from tools.quantizers import QUANTIZERS

STORED: tuple[Mtp, ...] = ("bf16", "bf16", "quantized", "mixed")
FORGED = tuple(
    name
    for name in SCHEMES
    if name == NONE or all(part.quantizer in QUANTIZERS for part in schemes.parts(name))
)
"""Recipes that a checkpoint can be forged by."""
_BYTES = {torch.float8_e4m3fn: torch.uint8, torch.float8_e8m0fnu: torch.uint8}
"""Dtypes that torch does not join, and one of their size that it does."""
NOT_ASKED = "not asked"
"""What the engine did, where the stand-in for its GPU cannot follow."""


@dataclass(frozen=True)
class Draw:
    """One checkpoint."""

    family: str
    scheme: str
    mtp: Mtp
    listed: str
    change: str
    detail: str = ""

    def __str__(self) -> str:
        """One line that names it."""
        return " ".join((self.family, self.scheme, self.mtp, self.listed, self.change, self.detail))


class Judge(ABC):
    """A running engine that loads random checkpoints, and what mtpfix foretells of it.

    Attributes:
        title: the name of the engine.
        families: those that have a draft.
        lists: the ignore lists that are drawn.
        changes: what is done to the block.
    """

    title: str
    families: Sequence[str]
    lists: Sequence[str]
    changes: Sequence[str]
    schemes: Sequence[str] = FORGED

    def like(self, family: str) -> str:
        """Return the tiny model of `tools.tiny` that a family's checkpoint is forged of."""
        return family

    @abstractmethod
    def adapt(self, folder: Path, family: str) -> None:
        """Make a forged checkpoint one that the engine reads."""

    @abstractmethod
    def entries(self, drawn: Draw, variant: str, chance: random.Random) -> list[str] | None:
        """Return the ignore list that was drawn."""

    def change(
        self, drawn: Draw, variant: str, tensors: dict[str, Tensor], chance: random.Random
    ) -> str:
        """Do to the tensors what was drawn, other than to lose one; return the changed name."""
        raise NotImplementedError(drawn.change)

    @abstractmethod
    def foretold(self, folder: Path) -> str:
        """Return the outcome that mtpfix foretells for the draft, which alone is loaded."""

    @abstractmethod
    def heard(self, folder: Path) -> str:
        """Return what the engine did."""


def draw(chance: random.Random, judge: Judge) -> Draw:
    """Return a random checkpoint of a family and a recipe that fit each other."""
    while True:
        family, scheme = chance.choice(judge.families), chance.choice(judge.schemes)
        like = judge.like(family)
        fits = scheme == NONE or schemes.fits(scheme, like)
        if scheme not in tiny.unfit(like) and fits:
            break
    stored = "bf16" if scheme == NONE else chance.choice(STORED)
    return Draw(family, scheme, stored, chance.choice(judge.lists), chance.choice(judge.changes))


def make(drawn: Draw, folder: Path, judge: Judge, chance: random.Random) -> Draw:
    """Write the checkpoint, and return what was done to its block."""
    like = judge.like(drawn.family)
    variant = tiny.variant(like, drawn.scheme)
    ignore = judge.entries(drawn, variant, chance)
    forged = forge(
        like,
        folder,
        drawn.scheme,
        variant=variant,
        mtp=drawn.mtp,
        ignore=ignore,
        seed=chance.randrange(1 << 16),
    )
    judge.adapt(folder, drawn.family)
    if drawn.change == "none":
        return drawn
    path = folder / "model.safetensors"
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    if drawn.change == "lost":
        detail = chance.choice([n for n in forged.mtp if n in tensors])
        del tensors[detail]
    elif drawn.change == "fused":
        brought = {name: tensors[name] for name in forged.mtp if name in tensors}
        some = fusible(like, brought)
        detail = chance.choice(sorted(some)) if some else ""
        if some:
            fuse(tensors, detail, some[detail])
    else:
        detail = judge.change(drawn, variant, tensors, chance)
    save_file({n: t.contiguous() for n, t in tensors.items()}, path, metadata={"format": "pt"})
    return replace(drawn, detail=detail)


def fusible(family: str, tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, ...]]:
    """Return plain modules of which an engine makes one, by the name of that one beside them.

    Args:
        family: a tiny model, whose fused layers are known.
        tensors: those of the MTP block.
    """
    stored: dict[str, set[str]] = {}
    for name in tensors:
        module, _, suffix = name.rpartition(".")
        stored.setdefault(module, set()).add(suffix)
    found: dict[str, tuple[str, ...]] = {}
    for fused, parts in disk.fused_layers(family).items():
        first = next(iter(parts))
        for module, suffixes in stored.items():
            if not module.endswith(f".{first}") or ".experts." in module or fused in parts:
                continue
            block = module.removesuffix(first)
            names = tuple(block + part for part in parts)
            plain = suffixes <= {"weight", "bias"}
            if plain and all(stored.get(name) == suffixes for name in names):
                found[block + fused] = names
    return found


def fuse(tensors: dict[str, Tensor], fused: str, parts: Sequence[str]) -> None:
    """Put one module in the place of its parts, under the engine's own name for it."""
    suffixes = [n.rpartition(".")[2] for n in tensors if n.rpartition(".")[0] == parts[0]]
    for suffix in suffixes:
        own = [tensors.pop(f"{part}.{suffix}") for part in parts]
        dtype = _BYTES.get(own[0].dtype, own[0].dtype)
        whole = torch.cat([torch.atleast_1d(each.view(dtype)) for each in own])
        tensors[f"{fused}.{suffix}"] = whole.view(own[0].dtype)


def on_disk(family: str, variant: str) -> list[str]:
    """Return the names that modules of the MTP block have on disk."""
    stored = tiny.tensors(family, variant, "draft")
    return [each.name.removesuffix(".weight") for each in stored if each.matrix]


def asked(family: str, variant: str, release: str) -> list[str]:
    """Return the names that a vLLM asks about in order to build the draft."""
    config = tiny.config(family, variant)
    known = policy.policy(policy.recognise(config) or "")
    context = construction.context(known, config, release, "cuda")
    modules = construction.modules(known, context, "draft")
    return [module.name for module in modules if module.asks and module.name]
