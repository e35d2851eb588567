"""Where the tensors of a new shard came from, and what their bytes are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mtpfix import __version__
from mtpfix.grafts.block import Block
from mtpfix.grafts.layout import MANIFEST


def name_of(shard: str) -> str:
    """Return the name of the manifest of a shard."""
    return shard.removesuffix(".safetensors") + MANIFEST


def text(block: Block, hashes: Mapping[str, str]) -> bytes:
    """Return the manifest of a graft: tensor, origin, what was done to it, SHA-256.

    A file that the Hub copied itself was not read, and has no hashes.
    """
    where = block.donor.target
    document = {
        "schema": "mtpfix.manifest/1",
        "tool": {"name": "mtpfix", "version": __version__},
        "base": {
            "kind": where.kind,
            "name": where.name if where.kind == "hub" else Path(where.name).name,
            "revision": where.revision,
        },
        "shard": block.shard,
        "tensors": {
            piece.name: {
                "from": piece.source,
                "conversion": piece.conversion,
                "sha256": hashes.get(piece.name),
            }
            for piece in block.layout.pieces
        },
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
