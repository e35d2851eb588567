"""GPTQ: rules of `dynamic` with other bits and groups, and the list of what is quantized. Pure.

The first rule that fits decides, so that a rule of an MTP block goes before one that fits it too.
Linear layers that no name of `modules_in_block_to_quantize` is a part of stay as they are; without
the list, what is quantized is read in the headers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product

from mtpfix.model import Edit, Json
from mtpfix.quant.schemes import keys
from mtpfix.quant.schemes.metadata import Metadata, stated
from mtpfix.quant.schemes.narrower_entries import part
from mtpfix.quant.schemes.share import Block, Proposal, Share
from mtpfix.quant.spelling import anchored

_RULES, _LIST = "dynamic", "modules_in_block_to_quantize"


def proposals(block: Block) -> Iterator[Proposal]:
    """Yield what rules and the list can say of the block."""
    shares = [share for share in block.quantized if _numbers(share)]
    other = [share for share in shares if keys.differs(_numbers(share), block.view.raw)]
    for number in range(len(shares[0].selectors) if shares else 0):
        names = _reached(shares, number)
        lists = (_kept, *((_longer, _narrower) if block.view.raw.get(_LIST) else (_stated,)))
        for ruled, listed, first in product(([], other, shares), lists, (False, True)):
            rules = {
                spell(name): _numbers(share) for share in ruled for name in share.selectors[number]
            }
            yield _proposal(block, rules, listed, names, first=first)


_Listed = Callable[[Block, Metadata, Sequence[str]], Iterable[Edit]]
"""What becomes of the list of one file, given names of the block that are quantized."""


def _proposal(
    block: Block, rules: keys.Keys, listed: _Listed, names: Sequence[str], *, first: bool
) -> Proposal:
    """Return the edits that make rules, and the list what it should be."""
    edits: list[Edit] = []
    added = 0
    for metadata in stated(block.view, block.configs):
        edits += keys.additions(metadata, _RULES, rules, first=first)
        of_list = list(listed(block, metadata, names))
        edits += of_list
        added = added or sum(map(_size, of_list))
    schemes = [f"gptq: {keys.said(value)} by the rule `{rule}`" for rule, value in rules.items()]
    if added:
        schemes.append(f"gptq: among the modules to quantize {', '.join(map(keys.quoted, names))}")
    return Proposal(tuple(edits), tuple(schemes), len(rules) + added)


def spell(name: str) -> str:
    """Return the rule for a name, or for all below a prefix; no name mapper touches it."""
    return anchored(name, "+:")


def _size(edit: Edit) -> int:
    """Return how many names an edit of the list is about."""
    parts = edit.value if isinstance(edit.value, list) else [edit.value]
    return sum(len(each) if isinstance(each, list) else 1 for each in parts)


# --- the list -------------------------------------------------------------------------


def _kept(block: Block, of: Metadata, names: Sequence[str]) -> Iterator[Edit]:
    """Yield nothing: the list stays."""
    del block, of, names
    yield from ()


def _longer(block: Block, of: Metadata, names: Sequence[str]) -> Iterator[Edit]:
    """Yield the edits by which the list gets names."""
    del block
    yield from keys.extended(of, _LIST, names)


def _stated(block: Block, of: Metadata, names: Sequence[str]) -> Iterator[Edit]:
    """Yield the list that engines took from the headers, and names of the block.

    Experts are not in it: of them nobody asks it.
    """
    found = (name for name in block.trunk if ".experts." not in name)
    yield Edit(of.file, of.at(_LIST), "add", [*found, *names])


def _narrower(block: Block, of: Metadata, names: Sequence[str]) -> Iterator[Edit]:
    """Yield the list anew, without parts of names that unquantized modules of the block have.

    What they stand for in the target model is named one by one.
    """
    old = of.value.get(_LIST)
    shares = (share for share in block.shares if share.scheme is None)
    plain = "\n".join(name for share in shares for name in share.names)
    parts = old if isinstance(old, list) else []
    nested = any(isinstance(each, list) for each in parts)
    flat = [text for each in parts for text in (each if isinstance(each, list) else [each])]
    wide = {text for text in flat if text and text in plain}
    if not wide:
        return
    named = [part(text, name) for text in wide for name in block.trunk if text in name]
    new = list(dict.fromkeys([*(t for t in flat if t not in wide), *sorted(named), *names]))
    yield Edit(of.file, of.at(_LIST), "replace", [new] if nested else new)


def _reached(shares: Iterable[Share], number: int) -> list[str]:
    return [name for share in shares for name in share.selectors[number]]


def _numbers(share: Share) -> dict[str, Json]:
    """Return what a rule says of a share; empty: no rule can say it."""
    found = share.scheme
    if found is None or found.format != "gptq" or found.packing is None:
        return {}
    return dict(found.packing._asdict())
