"""A config group of compressed-tensors for an MTP block whose FP8 weights are kept. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mtpfix.model import Edit, Json, QuantView
from mtpfix.quant.location import escape
from mtpfix.quant.schemes.compressed_tensors import MIXED, free_name

METHOD = "compressed-tensors"
_FORMAT = "float-quantized"
BLOCK = 128
"""Rows and columns of the blocks that published checkpoints have."""


def with_block_group(view: QuantView, names: Iterable[str]) -> tuple[Edit, ...]:
    """Return the edits that give some modules the scheme of block FP8.

    A group of another format than the rest takes effect only where the whole is of mixed precision
    and each group says its own format.

    Args:
        view: the metadata, of compressed-tensors.
        names: what the engine asks about for the modules that are FP8.
    """
    groups: Mapping[str, Json] = view.raw.get("config_groups") or {}
    place = f"{view.pointer}/config_groups"
    name = free_name(groups)
    edits = [
        Edit(view.file, f"{place}/{escape(key)}/format", "add", view.format)
        for key, group in groups.items()
        if isinstance(group, Mapping) and "format" not in group and view.format is not None
    ]
    if view.format != MIXED:
        edits.append(Edit(view.file, f"{view.pointer}/format", "add", MIXED))
    return (*edits, Edit(view.file, f"{place}/{name}", "add", _group(_targets(names))))


def _group(targets: list[str]) -> dict[str, Json]:
    """Return the group, as llm-compressor writes one for FP8_BLOCK."""
    plain = {"num_bits": 8, "type": "float", "symmetric": True}
    return {
        "format": _FORMAT,
        "targets": targets,
        "weights": {
            **plain,
            "strategy": "block",
            "block_structure": [BLOCK, BLOCK],
            "dynamic": False,
            "observer": "static_minmax",
        },
        "input_activations": {
            **plain,
            "strategy": "group",
            "group_size": BLOCK,
            "dynamic": True,
            "observer": None,
        },
        "output_activations": None,
    }


def _targets(names: Iterable[str]) -> list[str]:
    """Return the fewest patterns that fit these modules and nothing outside their parents.

    All that stands below the same child of a layer is named by one pattern.
    """
    found: dict[str, None] = {}
    for name in names:
        child = re.match(r".*?\.\d+\.[^.]+(?=\.)", name)
        target = name if child is None else rf"re:^{re.escape(child[0])}\..*"
        found[target.replace(r"\-", "-")] = None
    return list(found)
