"""The ways to bring a block: its tensors, and what the metadata say beside the entries. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mtpfix.checkpoint.precision import split_name
from mtpfix.engines.base import EngineCase
from mtpfix.engines.opening import Files
from mtpfix.errors import RefusedError
from mtpfix.grafts import pieces
from mtpfix.grafts.pieces import Piece
from mtpfix.model import Edit, Kind, QuantView, State
from mtpfix.quant import block_group
from mtpfix.quant.schemes import modelopt

Precision = Literal["auto", "keep", "bf16"]
"""What becomes of a block in FP8 or MXFP4: kept where the method can say it, or made BF16."""


class Attempt(NamedTuple):
    """One way to bring the block: its tensors, and what the metadata must say beside entries."""

    pieces: tuple[Piece, ...]
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True)
class Target:
    """The checkpoint that a block is brought into.

    Attributes:
        files: as it is.
        roots: beginnings of the names of MTP tensors.
        seen: what every release makes of it with some tensors, without edits beside the entries.
    """

    files: Files
    roots: tuple[str, ...]
    seen: Callable[[Sequence[Piece]], tuple[EngineCase, ...]]

    def quantized(self) -> list[str]:
        """Return the modules of the target model that are quantized, as on disk."""
        held = self.files.inventory
        return [
            name
            for name in held.modules()
            if not f"{name}.".startswith(self.roots) and held.one(name).state is State.QUANTIZED
        ]


def attempts(
    brought: tuple[Piece, ...], precision: Precision, target: Target
) -> Iterator[Callable[[], Attempt]]:
    """Yield the ways to bring a block, those that keep its bytes first.

    One raises RefusedError where it is none for this target.
    """
    plain = not pieces.convertible(brought)
    if plain or precision != "bf16":
        yield lambda: Attempt(brought)
    if not plain and precision != "bf16":
        if pieces.fours(brought):
            yield lambda: _repacked(brought, target)
        yield lambda: _grouped(brought, target)
        yield lambda: _mixed(brought, target)
        yield lambda: _mixed(brought, target, alone="experts")
    if not plain and precision != "keep":
        yield lambda: Attempt(pieces.dequantized(brought))


def _repacked(brought: tuple[Piece, ...], target: Target) -> Attempt:
    """Return the block under the names of compressed-tensors: a repair can say its schemes then."""
    renamed = pieces.repacked(brought)
    _view(target.seen(renamed), frozenset({block_group.METHOD}))
    return Attempt(renamed)


def _grouped(brought: tuple[Piece, ...], target: Target) -> Attempt:
    """Return the block as FP8 under a config group of its own."""
    renamed = pieces.rescaled(brought, "weight_scale")
    cases = target.seen(renamed)
    view = _view(cases, frozenset({block_group.METHOD}))
    return Attempt(renamed, block_group.with_block_group(view, _fp8_names(cases)))


def _mixed(brought: tuple[Piece, ...], target: Target, alone: Kind | None = None) -> Attempt:
    """Return the block as FP8 where each layer has an algorithm of its own.

    The engine calls the scales of routed experts otherwise than those of linear layers, wants
    the latter with four dimensions, and takes fewer shapes of such layers.

    Args:
        brought: the block as it is.
        target: what it is brought into.
        alone: the kind of modules that stay FP8; None: all.
    """
    cases = target.seen(brought)
    view = _view(cases, modelopt.METHODS)
    experts = _members(cases, "experts")
    linear = tuple(piece for piece in brought if split_name(piece.name)[0] not in experts)
    routed = tuple(piece for piece in brought if split_name(piece.name)[0] in experts)
    if alone:
        others = pieces.dequantized(linear)
    else:
        others = pieces.rescaled(linear, "weight_scale", spread=True)
    configs = target.files.listing.configs
    rows = dict.fromkeys(_fp8_names(cases, alone), modelopt.FP8_BLOCK)
    edits = modelopt.with_layers(view, configs, target.quantized(), rows)
    return Attempt((*routed, *others), edits)


def _view(cases: Sequence[EngineCase], methods: frozenset[str]) -> QuantView:
    """Return the metadata, if they are of one of these methods."""
    view = cases[0].view if cases else None
    if view is None or view.method not in methods:
        method = "no method" if view is None else view.method or "no method"
        raise RefusedError(
            f"the metadata of {method} cannot say what the block is stored in",
            "leave --precision out: the block is made BF16",
        )
    return view


def _fp8_names(cases: Iterable[EngineCase], kind: Kind | None = None) -> tuple[str, ...]:
    """Return every name that an engine asks for a module of the block that is FP8.

    Args:
        cases: what each release makes of the block.
        kind: the kind of modules; None: all.
    """
    found: dict[str, None] = {}
    for case in cases:
        for report in case.part(case.view, "draft"):
            module = report.decision.module
            if report.disk.state is State.QUANTIZED and kind in (None, module.kind):
                found |= dict.fromkeys(case.asked(module))
    return tuple(found)


def _members(cases: Iterable[EngineCase], kind: Kind) -> frozenset[str]:
    """Return the modules on disk that are loaded into modules of one kind."""
    return frozenset(
        name
        for case in cases
        for report in case.part(case.view, "draft")
        if report.decision.module.kind == kind
        for name in report.members
    )
