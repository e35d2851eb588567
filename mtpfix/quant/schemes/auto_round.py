"""auto-round: other bits and groups by name in `extra_config`, and blocks that are quantized. Pure.

A key that is spelled like a name decides before all others, and of regexes the first that is found
in the name. Blocks are the beginnings of names; what begins otherwise stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product

from mtpfix.model import Json
from mtpfix.quant.schemes import keys
from mtpfix.quant.schemes.metadata import stated
from mtpfix.quant.schemes.share import Block, Proposal, Share
from mtpfix.quant.spelling import anchored

_KEYS = "extra_config"
_BLOCKS = ("block_name_to_quantize", "to_quant_block_names")
"""The keys for the names of the blocks; vLLM takes the first that is there."""
_FLOATS = {"mxfp4-pack": 4, "mxfp8": 8, "fp8-block": 8}
_MX_GROUP = 32


def proposals(block: Block) -> Iterator[Proposal]:
    """Yield what keys and blocks can say of the block."""
    raw = block.view.raw
    shares = [share for share in block.quantized if _numbers(share)]
    other = [share for share in shares if keys.differs(_numbers(share), raw)]
    lists = ([], shares) if raw.get(_blocks(raw)) else ([],)
    for number in range(len(shares[0].selectors) if shares else 0):
        for named, listed, first in product(([], other, shares), lists, (False, True)):
            yield _proposal(block, number, named, listed, first=first)


def _proposal(
    block: Block, number: int, shares: list[Share], listed: list[Share], *, first: bool
) -> Proposal:
    """Return the edits that give some shares keys, and put the names of some among the blocks."""
    extra = block.view.raw.get(_KEYS)
    known: Mapping[str, Json] = extra if isinstance(extra, Mapping) else {}
    new: dict[str, dict[str, Json]] = {}
    for share in shares:
        numbers = {**_numbers(share), **_symmetry(block.view.raw)}
        named = sorted({*share.names, *share.on_disk}.intersection(known))
        wrong = (name for name in named if keys.differs(numbers, known[name]))
        new |= {name: {**known[name], **numbers} for name in wrong}
        experts = {name for kind, name in share.modules if kind == "experts"}
        spelled = (spell(name, experts=name in experts) for name in share.selectors[number])
        new |= {key: numbers for key in spelled if key not in new}
    names = [name for share in listed for name in share.selectors[number]]
    edits = [
        edit
        for metadata in stated(block.view, block.configs)
        for edit in (
            *keys.additions(metadata, _KEYS, new, first=first),
            *keys.extended(metadata, _blocks(metadata.value), names),
        )
    ]
    schemes = tuple(
        f"auto-round: {keys.said(value)} by the key `{key}`" for key, value in new.items()
    )
    schemes += tuple(f"auto-round: `{name}` among the blocks" for name in names)
    return Proposal(tuple(edits), schemes, len(new) + len(names))


def spell(name: str, *, experts: bool = False) -> str:
    """Return the key for a name, for the experts that it holds, or for all below a prefix."""
    if name.endswith("."):
        return anchored(name)
    return rf"^{re.escape(name)}(\..*)?$" if experts else name


def _blocks(raw: Mapping[str, Json]) -> str:
    return next((key for key in _BLOCKS if key in raw), _BLOCKS[0])


def _symmetry(raw: Mapping[str, Json]) -> dict[str, Json]:
    """Return what is said of zero points, which tensors do not tell: they are stored anyway."""
    return {"sym": raw["sym"]} if "sym" in raw else {}


def _numbers(share: Share) -> dict[str, Json]:
    """Return what a key says of a share; empty: no key can say it."""
    found = share.scheme
    if found is None:
        return {}
    if found.format in ("gptq", "awq"):
        return dict(found.packing._asdict()) if found.packing else {}
    if found.format not in _FLOATS:
        return {}
    size = list(found.block) if found.block else _MX_GROUP
    return {"bits": _FLOATS[found.format], "group_size": size}
