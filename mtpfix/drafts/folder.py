"""What a draft folder holds: metadata, an index, links to shards or a shard of its own. Pure.

The target model is loaded from elsewhere, and no list in the folder reaches it. So metadata that
fit the block alone are enough, and where it is unquantized, none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mtpfix.checkpoint.load import CONFIG, CONFIGS
from mtpfix.checkpoint.source import climbs_out
from mtpfix.engines.opening import Block
from mtpfix.grafts import index
from mtpfix.grafts.layout import NAME, Layout
from mtpfix.grafts.pieces import as_it_is, stored
from mtpfix.model import Checkpoint, Edit, Json, JsonFile
from mtpfix.quant.location import escape
from mtpfix.repair import patch
from mtpfix.repair.index import INDEX, size_of

METADATA = ("quantization_config", "compression_config")
"""Keys of quantization metadata, wherever in `config.json` they stand."""
BESIDE = "generation_config.json"
_PARTS = "consolidated"
"""Weight files of this name are read by another index."""


@dataclass(frozen=True)
class DraftFolder:
    """What a draft folder holds.

    Attributes:
        files: name -> bytes: metadata files, and the index.
        shards: files of the target with tensors of the block, which are linked.
        copies: small files of the target that a configuration needs.
        tensors: how many tensors the index names.
        layout: the new shard, with the bytes of the block alone; None: shards are linked.
    """

    files: Mapping[str, bytes]
    shards: tuple[str, ...]
    copies: tuple[str, ...]
    tensors: int
    layout: Layout | None = None

    @property
    def metadata(self) -> Mapping[str, bytes]:
        """The files that may hold quantization metadata."""
        return {name: raw for name, raw in self.files.items() if name in CONFIGS}


def without_metadata(config: JsonFile) -> bytes:
    """Return `config.json` without quantization metadata; all its other bytes stay."""
    edits = [Edit(config.name, pointer, "remove") for pointer in _places(config.value, "")]
    return patch.apply(config.raw, edits)


def _places(value: Json, pointer: str) -> Iterator[str]:
    """Yield where metadata stand: at the top, or in the configuration of a part of the model."""
    for key, inner in value.items():
        here = f"{pointer}/{escape(key)}"
        if key in METADATA:
            yield here
        elif isinstance(inner, Mapping):
            yield from _places(inner, here)


def made(
    checkpoint: Checkpoint,
    block: Block,
    metadata: Mapping[str, bytes],
    starts: Mapping[str, int] | None = None,
) -> DraftFolder:
    """Return the folder for the block of a checkpoint.

    Args:
        checkpoint: the target; the shards of the block have been opened.
        block: the tensors of the block.
        metadata: the metadata files that the folder has.
        starts: shard -> the byte at which its data begin, where the bytes of the block are to be
            fetched; None: its shards are linked.
    """
    found = checkpoint.listing
    copies = tuple(sorted(_copies(checkpoint)))
    if starts is not None:
        names = [name for name in block.tensors if name in found.shards]
        pieces = as_it_is((name, stored(name, checkpoint, starts)) for name in names)
        layout = Layout(pieces, {"format": "pt"})
        text = index.made(dict.fromkeys(names, NAME), layout.data_size)
        return DraftFolder({**metadata, INDEX: text}, (), copies, len(names), layout)
    # Embedding and head are the target model's own when it serves: their shards are not needed.
    shards = tuple(sorted({found.shards[name] for name in block.tensors if name in found.shards}))
    table = {name: shard for shard in shards for name in checkpoint.headers[shard]}
    text = index.made(table, size_of(checkpoint.headers[shard] for shard in shards))
    return DraftFolder({**metadata, _index_of(shards): text}, shards, copies, len(table))


def _index_of(shards: Iterable[str]) -> str:
    """Return the name of the index that is read beside weight files of such names."""
    other = any(shard.startswith(_PARTS) for shard in shards)
    return INDEX.replace("model", _PARTS, 1) if other else INDEX


def _copies(checkpoint: Checkpoint) -> Iterator[str]:
    """Yield the small files that a configuration needs: remote code where it names some."""
    files = checkpoint.listing.files
    config = checkpoint.listing.configs[CONFIG]
    if BESIDE in files:
        yield BESIDE
    if "auto_map" in config.value:
        yield from (name for name in files if name.endswith(".py") and not climbs_out(name))
