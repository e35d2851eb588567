"""What would have to be known of a checkpoint that no policy speaks of. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from mtpfix.checkpoint.precision import by_module, named_precision
from mtpfix.checkpoint.strict_json import shown
from mtpfix.engines.policies.family import Index
from mtpfix.model import Json, Listing, State

_CONFIG = "config.json"
_METADATA = ("quantization_config", "compression_config")
"""Keys of `config.json` whose values are quantization metadata, wherever they stand."""
_DEEPEST = 3
"""How far below the top of `config.json` models keep the configurations of their parts."""
_MTP = re.compile(r"(?:^|\.)(?:mtp|nextn|eh_proj)(?:_\w+)?(?:\.|$)")
"""Names of tensors that an MTP block has, and nothing else."""


def open_question(index: Index, found: Listing, config: Mapping[str, Json]) -> str | None:
    """Return why a checkpoint cannot be called right without a policy, or None.

    A model that names itself, of which nothing is quantized and that has no MTP block, is built in
    one way: then there is nothing to ask.

    Args:
        index: the families of an engine.
        found: the metadata files, and the names of all tensors.
        config: the parsed `config.json`.
    """
    return next(_questions(index, found, config), None)


def _questions(index: Index, found: Listing, config: Mapping[str, Json]) -> Iterator[str]:
    if not config.get("architectures") and not config.get("model_type"):
        yield "config.json names no model"
    if index.declares_mtp(config):
        yield "config.json declares MTP layers"
    if (pointer := next(_metadata(config), None)) is not None:
        yield f"config.json has quantization metadata at {shown(pointer)}"
    if (beside := next((name for name in found.configs if name != _CONFIG), None)) is not None:
        yield f"{shown(beside)} says how it is quantized"
    if (block := next(filter(_MTP.search, found.shards), None)) is not None:
        yield f"{shown(block)} is a tensor of an MTP block"
    for module, suffixes in by_module(found.shards).items():
        if named_precision(suffixes).state is State.QUANTIZED:
            yield f"{shown(module)} is stored quantized"


def _metadata(config: Mapping[str, Json], above: str = "", depth: int = 0) -> Iterator[str]:
    """Yield the JSON pointers of quantization metadata."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            if key in _METADATA:
                yield f"{above}/{key}"
            elif depth < _DEEPEST:
                yield from _metadata(value, f"{above}/{key}", depth + 1)
