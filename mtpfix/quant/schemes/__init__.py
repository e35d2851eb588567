"""What the metadata of a method can say of how an MTP block is quantized.

One module a method, and in each one function: from a block, as it is stored, to proposals of
edits. Which of them is right is not judged here but by trial (`repair/planner.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from mtpfix.checkpoint.scheme import Scheme
from mtpfix.model import QuantView
from mtpfix.quant.schemes import (
    auto_round,
    compressed_tensors,
    gptq,
    modelopt,
    narrower_entries,
    quark,
)
from mtpfix.quant.schemes.share import Block, Proposal, Share

__all__ = ["Block", "Proposal", "Share", "proposals", "wider_targets"]

_METHODS: Mapping[str, Callable[[Block], Iterator[Proposal]]] = {
    "auto-round": auto_round.proposals,
    "awq": narrower_entries.proposals,
    "compressed-tensors": compressed_tensors.proposals,
    "deepseek_v4_fp8": narrower_entries.proposals,
    "fbgemm_fp8": narrower_entries.proposals,
    "fp8": narrower_entries.proposals,
    "gptq": gptq.proposals,
    "quark": quark.proposals,
    **dict.fromkeys(modelopt.METHODS, modelopt.proposals),
}


def proposals(block: Block) -> Iterator[Proposal]:
    """Yield what the metadata could say of a block, the fewest edits first."""
    of = _METHODS.get(block.view.method)
    if of is not None:
        yield from of(block)


def wider_targets(view: QuantView, found: Scheme, names: Iterable[str]) -> Proposal | None:
    """Return targets for modules that none fits, in a group that has their scheme already.

    None: the metadata have no such group.
    """
    if view.method != "compressed-tensors":
        return None
    return compressed_tensors.wider_targets(view, found, names)
