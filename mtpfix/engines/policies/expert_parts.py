"""What routed experts need once for gate and up together, in vLLM and SGLang alike. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from mtpfix.checkpoint.inventory import Inventory
from mtpfix.checkpoint.precision import joined_name

SECOND = (".down_proj", ".w2")
"""Ends of the names of what experts have beside gate and up."""


def has_one(inventory: Inventory, members: Iterable[str], suffix: str) -> bool:
    """Return whether gate or up of each expert has a tensor, and what is beside them has its own.

    Args:
        inventory: what is on disk.
        members: modules on disk, the numbers of experts written out.
        suffix: of the tensor.
    """
    found: dict[tuple[str, bool], bool] = {}
    for member in members:
        matrix = member.rpartition(".")[0], member.endswith(SECOND)
        found[matrix] = found.get(matrix, False) or joined_name(member, suffix) in inventory.names
    return all(found.values())
