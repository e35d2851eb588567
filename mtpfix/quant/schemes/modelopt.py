"""ModelOpt: one algorithm for all modules, or `quantized_layers` with one for each. Pure.

With MIXED_PRECISION a module has the algorithm of the key that is its name, of its shards, or of
what stands below it; without any it stays unquantized. So metadata with one algorithm become
mixed ones that name what was quantized. Keys that are there stay, even where no engine asks by
them: other readers of the file may.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mtpfix.model import Edit, Json, JsonFile, QuantView
from mtpfix.quant.location import escape
from mtpfix.quant.schemes import table
from mtpfix.quant.schemes.metadata import own, stated
from mtpfix.quant.schemes.share import Block, Names, Proposal, Share

METHODS = frozenset({"modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed"})
FP8_BLOCK: Mapping[str, Json] = {"quant_algo": "FP8_PB_WO"}
"""Weights in FP8, a scale for 128 x 128 of them; activations are quantized while serving."""
_ALGORITHM, _LAYERS, _SIZE = "quant_algo", "quantized_layers", "group_size"
_MIXED = "MIXED_PRECISION"
_BLOCKS = frozenset({"FP8_PB_WO", "FP8_BLOCK_SCALES"})
"""Algorithms with a scale for each block; vLLM takes one size of blocks for all of them."""
_SIDE = 128
_EXPERT = re.compile(r"\.experts\..*")
_SHOWN = 3
"""Names that a summary spells out."""

Row = Mapping[str, Json]
"""What stands under a key of `quantized_layers`."""


def proposals(block: Block) -> Iterator[Proposal]:
    """Yield what `quantized_layers` can say of the block, the fewest keys first.

    A name on disk is a key for all readers of the file; one by which an engine alone asks is
    added where that is not enough.
    """
    said = _Stated.of(block.view)
    shares = [(share, row) for share in block.quantized if (row := _row(share)) is not None]
    if said is None or (said.mixed and not shares) or not _one_size(shares, said):
        return
    if not said.mixed and block.cache_scales and (block.latent or not said.caches):
        return  # vLLM would drop these scales: of latent caches, or where no algorithm is stated
    for more in [()] if said.mixed else [(), block.trunk_names]:
        trunk = (*map(_together, block.trunk), *more)
        for level in range(len(Names._fields)):
            rows = {name: row for share, row in shares for name in _names(share, said, level)}
            edits = with_layers(block.view, block.configs, trunk, rows)
            keys = sum(map(_keys, edits))
            schemes = tuple(_schemes(shares, said, level))
            yield Proposal(edits, schemes, keys, whole=not said.mixed)


def with_layers(
    view: QuantView, configs: Mapping[str, JsonFile], trunk: Iterable[str], rows: Mapping[str, Row]
) -> tuple[Edit, ...]:
    """Return the edits that give some modules an algorithm, and keep what all others have.

    Args:
        view: the metadata, of ModelOpt.
        configs: the files that state it, by name.
        trunk: modules of the target model that are quantized.
        rows: what each module of the MTP block gets, by the names that are to be keys.
    """
    said = _Stated.of(view)
    if said is None:
        return ()
    kept = dict.fromkeys(trunk, said.row)
    edits: list[Edit] = []
    for each in stated(view, configs):
        layers = each.at(_LAYERS)
        if not said.mixed:
            edits.append(Edit(each.file, each.at(_ALGORITHM), "add", _MIXED))
            edits.append(Edit(each.file, layers, "add", {**kept, **rows}))
        elif isinstance(known := each.value.get(_LAYERS), Mapping):
            edits += (
                Edit(each.file, f"{layers}/{escape(name)}", "add", row)
                for name, row in rows.items()
                if _algorithm(known.get(name)) != _algorithm(row)
            )
    return tuple(edits)


def _keys(edit: Edit) -> int:
    """Return how many keys of `quantized_layers` an edit adds."""
    if edit.pointer.endswith(f"/{_ALGORITHM}"):
        return 0
    return len(edit.value) if edit.pointer.endswith(f"/{_LAYERS}") else 1


class _Stated(NamedTuple):
    """What metadata of ModelOpt say.

    Attributes:
        row: what every module that is quantized has, as a key of `quantized_layers` would say it.
        layers: `quantized_layers`, where each module has an algorithm of its own.
        caches: whether they state that the KV cache is quantized.
    """

    row: Row
    layers: Mapping[str, Json] | None
    caches: bool

    @property
    def mixed(self) -> bool:
        """Whether each module has an algorithm of its own."""
        return self.layers is not None

    @classmethod
    def of(cls, view: QuantView) -> _Stated | None:
        """Return what a view says; None: it names no algorithm, or is of another method."""
        stated = own(view).value
        algorithm = _algorithm(stated)
        if not algorithm or view.method not in METHODS:
            return None
        caches = bool(stated.get("kv_cache_quant_algo") or stated.get("kv_cache_scheme"))
        if algorithm == _MIXED:
            return cls({}, stated.get(_LAYERS) or {}, caches)
        weights_alone = view.format == "nvfp4-weights"
        row = {_ALGORITHM: "W4A16_NVFP4" if weights_alone else algorithm}
        size = stated.get(_SIZE, 16 if "NVFP4" in algorithm else None)
        return cls(row if size is None else {**row, _SIZE: size}, None, caches)


def _algorithm(row: Json) -> str:
    """Return an algorithm in capitals, as engines read it; empty where there is none."""
    return str(row.get(_ALGORITHM) or "").upper() if isinstance(row, Mapping) else ""


# --- what a share gets ---------------------------------------------------------------


def _row(share: Share) -> Row | None:
    """Return what gives modules the scheme of a share; None: ModelOpt has no algorithm for it."""
    found = share.scheme
    if found is None:
        return None
    row = table.row("modelopt", found)
    if row is None or found.block in (None, (_SIDE, _SIDE)):
        return row and row["says"]
    # Blocks of another size can be had for routed experts alone, and only square ones.
    rows_of_block, columns = found.block
    linear = any(kind != "experts" for kind, _ in share.modules)
    return None if linear or rows_of_block != columns else {**row["says"], _SIZE: columns}


def _one_size(shares: Iterable[tuple[Share, Row]], said: _Stated) -> bool:
    """Return whether all blocks, those that are stated and new ones, have one size."""
    rows = (*(row for _, row in shares), said.row, *(said.layers or {}).values())
    sizes = {str(row.get(_SIZE, _SIDE)) for row in rows if _algorithm(row) in _BLOCKS}
    return len(sizes) <= 1


def _names(share: Share, said: _Stated, level: int) -> tuple[str, ...]:
    """Return the keys that modules of a share need, more of them on each level.

    Where keys are there, they say what is right already.
    """
    built = tuple(name for _, name in share.modules if name)
    names = share.wrong if said.mixed else Names(share.on_disk, built, share.names)
    found = (tuple(map(_together, names.on_disk)), names.built, names.asked)[: level + 1]
    return tuple(dict.fromkeys(name for some in found for name in some))


def _together(name: str) -> str:
    """Return a name on disk, or for that of an expert the one of all."""
    return _EXPERT.sub(".experts", name)


def _schemes(shares: Sequence[tuple[Share, Row]], said: _Stated, level: int) -> Iterator[str]:
    if not said.mixed:
        yield f"`{_MIXED}`: what is quantized in the target model stands in `{_LAYERS}`"
    for share, row in shares:
        names = _names(share, said, level)
        if names and share.scheme is not None:
            some = ", ".join(f"`{name}`" for name in names[:_SHOWN])
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield f"{share.scheme.format}: `{row[_ALGORITHM]}` for {some}{more}"
