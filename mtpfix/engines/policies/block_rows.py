"""FP8 in blocks: parts of a layer that do not end where a block does, in vLLM and SGLang. Pure.

A fused layer counts blocks across its parts, and a checkpoint those of each part by itself.
Source: `validate_fp8_block_shape` and `adjust_block_scale_shard` of vLLM, from which SGLang has its
own.
"""

from __future__ import annotations

from collections.abc import Sequence

from mtpfix.checkpoint.inventory import Inventory
from mtpfix.engines.policies.expert_parts import SECOND
from mtpfix.model import Module


def followed(
    module: Module, members: Sequence[str], inventory: Inventory, *, last: bool = False
) -> Sequence[int]:
    """Return the rows of the parts of a layer that others follow; of experts the first matrix's.

    A layer that is stored in one piece does not tell where its parts end; its configuration may.

    Args:
        module: the layer.
        members: its modules on disk.
        inventory: what is on disk.
        last: whether to return the last part, too.
    """
    if module.kind == "experts":
        return rows(inventory, [name for name in members if not name.endswith(SECOND)])
    if module.parts:
        return module.parts[: None if last else -1]
    whole = len(members) == len(module.members)
    return rows(inventory, members[: None if last else -1]) if whole else ()


def total(module: Module, members: Sequence[str], inventory: Inventory) -> int:
    """Return the rows of all parts of a layer together; 0: not all of them were read."""
    each = rows(inventory, members)
    complete = len(each) == len(members) == len(module.members)
    return sum(each) if complete else sum(module.parts)


def rows(inventory: Inventory, members: Sequence[str]) -> list[int]:
    """Return how many rows weights have on disk, where their headers were read."""
    found = (inventory.tensors(name).get("weight") for name in members)
    return [tensor.shape[-2:][0] for tensor in found if tensor is not None and tensor.shape]


def scales_fit(parts: Sequence[int], block: int) -> bool:
    """Return whether there is a row for each scale, although a part ends inside a block.

    Args:
        parts: rows of all parts, in order.
        block: rows of a block.
    """
    ends = (-(-sum(parts[:i]) // block) - (-part // block) for i, part in enumerate(parts))
    return max(ends, default=0) <= -(-sum(parts) // block)
