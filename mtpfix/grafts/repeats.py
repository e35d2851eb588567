"""Tensors of the block that the target holds already under another name: embedding and head."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mtpfix.checkpoint.source import Source
from mtpfix.grafts.pieces import Piece, Stored

_SHARED = re.compile(r"(?:^|[._])(?:embed|embed_tokens|tok_emb|embeddings?|head|output)\.weight$")


def is_shared(name: str) -> bool:
    """Return whether a tensor is, by its name, an embedding or an output head."""
    return _SHARED.search(name) is not None


def same(theirs: Source, piece: Piece, ours: Source, own: Stored) -> bool:
    """Return whether a tensor of the block has the very bytes of one that the target holds.

    Args:
        theirs: the files of the base.
        piece: the tensor of the block.
        ours: the files of the target.
        own: a tensor there.
    """
    other = piece.stored
    alike = (own.dtype, own.shape) == (other.dtype, other.shape) and piece.conversion == "copy"
    if not (alike and is_shared(piece.name)):
        return False
    return all(
        one == two for one, two in zip(_bytes(theirs, other), _bytes(ours, own), strict=True)
    )


def _bytes(source: Source, stored: Stored) -> Iterator[bytes]:
    return iter(source.stream(stored.shard, stored.begin, stored.end))
