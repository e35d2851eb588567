"""What becomes of tensors that have another size than the parameters built for them. Pure.

The format is the right one, but the metadata states other bits, groups or blocks than those on
disk. vLLM cuts a shard for each device out of a tensor before it compares sizes: along the inputs
for a row-parallel layer, along the outputs for others. What is longer there is cut and loads.
Routed experts are filled as far as a tensor reaches, since parameters may be padded.
Source: `model_executor/parameter.py`, and `_narrow_expert_data_for_padding`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mtpfix.checkpoint.inventory import Layer
from mtpfix.checkpoint.packing import Clash, block_clashes, packed_clashes
from mtpfix.checkpoint.precision import joined_name
from mtpfix.model import Consequence, Decision, Module


class Misfit(NamedTuple):
    """What goes wrong when the tensors of a module are loaded."""

    consequence: Consequence
    detail: str | None
    tensor: str | None
    """The first tensor, by name, that does not fit."""


CUTS = "RowParallelLinear"
"""The class whose loader cuts a weight to the columns of its parameter, before it compares."""
SHORT = "RuntimeError: start (0) + length (…) exceeds dimension size (…)."

_WHOLE = "ReplicatedLinear"
"""The class whose loader cuts nothing."""
_WHOLE_DIFFERS = (
    "AssertionError: Tried to load weights of size torch.Size([…])"
    "to a parameter of size torch.Size([…])"
)
_LONG = (
    "RuntimeError: The size of tensor a (…) must match the size of tensor b (…) "
    "at non-singleton dimension …"
)
_ONE = "RuntimeError: output with shape […] doesn't match the broadcast shape […]"


def size_misfit(decision: Decision, layers: Iterable[Layer]) -> Misfit | None:
    """Return what goes wrong since a tensor is of another size; None if nothing is known to.

    Args:
        decision: what is built; the format on disk is the one that it loads.
        layers: its members on disk whose headers were read.
    """
    found = [each for layer in layers if (each := _of_layer(decision, layer)) is not None]
    errors = [each for each in found if each.consequence == "load_error"]
    return min(errors or found, key=lambda each: each.tensor or "", default=None)


def _of_layer(decision: Decision, layer: Layer) -> Misfit | None:
    """The same of one member; of several ways to read its tensors any may be the right one."""
    ways = _ways(decision, layer)
    if not ways or () in ways:
        return None
    outcomes = [_outcome(decision.module, layer, way) for way in ways]
    tensor = min(each.tensor or "" for each in outcomes)
    words = {each[:2] for each in outcomes}
    return Misfit(*(words.pop() if len(words) == 1 else ("load_error", None)), tensor)


def _ways(decision: Decision, layer: Layer) -> tuple[tuple[Clash, ...], ...]:
    """For every way to read the tensors of a member, what does not fit; none where not known."""
    if decision.packing is not None:
        return packed_clashes(layer.tensors, *decision.packing, layer.inputs)
    if decision.block is not None:
        return (block_clashes(layer.tensors, decision.block),)
    return ()


def _outcome(module: Module, layer: Layer, clashes: Iterable[Clash]) -> Misfit:
    """The first exception, or else garbage."""
    found = list(_effects(module, layer, clashes))
    return next((each for each in found if each.consequence == "load_error"), found[0])


def _effects(module: Module, layer: Layer, clashes: Iterable[Clash]) -> Iterator[Misfit]:
    for clash in clashes:
        if module.kind == "linear":
            error = _linear(module.cls, clash)
        elif module.kind == "experts":
            error = _experts(clash) if "weight" not in layer.tensors else _blocks(clash)
        else:  # a head or an embedding, whose loaders look at the vocabulary too
            error = ""
        consequence: Consequence = "silent_garbage" if error is None else "load_error"
        yield Misfit(consequence, error or None, joined_name(layer.name, clash.suffix))


def _linear(cls: str, clash: Clash) -> str | None:
    """What a linear layer raises; None: it cuts the tensor and loads the rest."""
    if cls == _WHOLE:
        return _WHOLE_DIFFERS
    cut = 1 if cls == CUTS else 0
    if clash.disk[cut] < clash.built[cut]:
        return SHORT
    return None if clash.disk[1 - cut] == clash.built[1 - cut] else "AssertionError: "


def _blocks(clash: Clash) -> str | None:
    """The same of experts in FP8 blocks, which vLLM may make smaller: the words are not known."""
    return None if _experts(clash) is None else ""


def _experts(clash: Clash) -> str | None:
    """What routed experts raise; None: they are filled in part."""
    longer = [new for old, new in zip(clash.disk, clash.built, strict=True) if old > new]
    if not longer:
        return None
    return _ONE if longer == [1] else _LONG
