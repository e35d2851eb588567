"""The index of the shards, with one shard more. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from mtpfix.model import Checkpoint, Edit, Json
from mtpfix.repair import patch
from mtpfix.repair.index import INDEX, naming, size_of


def made(shards: Mapping[str, str], size: int) -> bytes:
    """Return a new index.

    Args:
        shards: tensor -> file.
        size: bytes of all tensors.
    """
    document = {"metadata": {"total_size": size}, "weight_map": dict(sorted(shards.items()))}
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def extended(raw: bytes, value: Json, shard: str, names: Iterable[str], size: int) -> bytes:
    """Return an index that names one shard more; all other bytes stay.

    Args:
        raw: the index as it is.
        value: what it says.
        shard: the new file.
        names: its tensors.
        size: bytes of all tensors, those of the new file included.
    """
    edits = naming(INDEX, dict.fromkeys(names, shard))
    if isinstance(value.get("metadata"), Mapping):
        edits.append(Edit(INDEX, "/metadata/total_size", "add", size))
    else:
        edits.append(Edit(INDEX, "/metadata", "add", {"total_size": size}))
    return patch.apply(raw, edits)


def sizes(checkpoint: Checkpoint) -> int:
    """Return the bytes of all tensors that the files of a checkpoint hold."""
    used = set(checkpoint.listing.shards.values())
    return size_of(header for shard, header in checkpoint.headers.items() if shard in used)
