"""vLLM's matchers for compressed-tensors, quirks included, per release. Pure.

Sources: `should_ignore_layer` and `find_matched_target` in
`quantization/compressed_tensors/utils.py`, `find_matching_patterns` and
`is_equal_or_regex_match` in `quantization/utils/config_utils.py`.
"""

from __future__ import annotations

from mtpfix.engines.policies.method import Packed, ShardsDifferError
from mtpfix.engines.policies.targets import by_name, by_shards
from mtpfix.engines.policies.targets import target as class_first
from mtpfix.engines.vllm.policy import rules
from mtpfix.model import Entry
from mtpfix.patterns import Entries


def ignored(name: str, ignore: Entries, packed: Packed, release: str) -> Entry | None:
    """The entry that exempts the module `name`, or None if it is not exempt.

    Raises:
        ShardsDifferError: the list names only some shards of a fused layer.
        PatternError: a pattern takes too long.
    """
    last = name.rpartition(".")[2]
    fused = last in packed
    if not fused or rules("fused_name_first", release) or ignore.exact(name) is not None:
        # In the order of the list: an invalid pattern before the entry that fits is an error.
        found = ignore.first(name)
        if found is not None or not fused:
            return found
    matches = [ignore.first(name.replace(last, shard)) for shard in packed[last]]
    hits = [entry for entry in matches if entry is not None]
    if hits and len(hits) < len(matches):
        text = rules("shards_differ", release).format(name=name, shards=list(packed[last]))
        raise ShardsDifferError(text, hits[0])
    return hits[0] if hits else None


def target(name: str, cls: str, targets: Entries, packed: Packed, release: str) -> Entry | None:
    """The target that a module falls under: by name, by its shards, by its class.

    Raises:
        PatternError: a pattern takes too long.
    """
    if not rules("shards_before_class", release):
        return class_first(name, cls, targets, packed)
    found = by_name(name, targets) or by_shards(name, targets, packed)
    return found or targets.first_in_class(cls)
