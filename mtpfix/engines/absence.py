"""What of an MTP block is not on disk at all, whatever the engine. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from mtpfix.model import ModuleReport, State


def block_absent(draft: Iterable[ModuleReport]) -> bool:
    """Return whether nothing is on disk of all that a draft needs of its own."""
    needed = [r for r in draft if not r.decision.module.optional]
    return bool(needed) and all(r.disk.state is State.MISSING for r in needed)


def absent_layers(draft: Iterable[ModuleReport]) -> tuple[int, ...]:
    """Draft layers that the configuration declares and of which no tensor is on disk."""
    layers: dict[int, bool] = {}
    for r in draft:
        layer = r.decision.module.layer
        if layer is not None and not r.decision.module.optional:
            layers[layer] = layers.get(layer, False) or r.disk.state is not State.MISSING
    return tuple(sorted(layer for layer, present in layers.items() if not present))
