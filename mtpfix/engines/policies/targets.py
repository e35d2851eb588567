"""Which target of compressed-tensors a module falls under, in vLLM and in SGLang alike. Pure.

Source: `find_matched_target` in `quantization/compressed_tensors/utils.py` of both.
"""

from __future__ import annotations

from mtpfix.engines.policies.method import Packed
from mtpfix.model import Entry
from mtpfix.patterns import Entries


def target(name: str, cls: str, targets: Entries, packed: Packed) -> Entry | None:
    """Return the target that a module falls under: by name, by its class, by its shards.

    Raises:
        PatternError: a pattern is invalid, or takes too long.
    """
    return (
        by_name(name, targets)
        or _not_empty(targets.first_in_class(cls))
        or by_shards(name, targets, packed)
    )


def by_name(name: str, targets: Entries) -> Entry | None:
    """Return the target that fits a name.

    Raises:
        PatternError: a pattern is invalid, or takes too long.
    """
    return _not_empty(targets.first(name))


def by_shards(name: str, targets: Entries, packed: Packed) -> Entry | None:
    """Return the target of the first shard of a fused layer, where each shard has one.

    Raises:
        PatternError: a pattern is invalid, or takes too long.
    """
    fused = next((key for key in packed if name.endswith(key)), None)
    if fused is None:
        return None
    matches = [by_name(name.replace(fused, shard), targets) for shard in packed[fused]]
    return matches[0] if matches and None not in matches else None


def _not_empty(entry: Entry | None) -> Entry | None:
    """Return the entry, unless its text is empty: engines take that for no target, and look on."""
    return entry if entry is not None and entry.text else None
