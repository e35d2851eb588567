"""The list that says what the engine read in tensor headers, before a first entry stopped it. Pure.

See `methods/shared/headers.py` of vLLM. The MTP block is left out: its entries are planned anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from mtpfix.engines.vllm.judge import Case
from mtpfix.engines.vllm.methods.shared.headers import derived
from mtpfix.engines.vllm.names import disk_roots
from mtpfix.model import QuantView


def stand_ins(case: Case, view: QuantView, hidden: Collection[str]) -> Iterator[tuple[str, ...]]:
    """Lists that exempt what the headers exempt, the shortest first.

    Args:
        case: any of the releases.
        view: the metadata, without a list.
        hidden: names from the headers to leave out, since they hit what is quantized.
    """
    roots = disk_roots(case.policy, case.context)
    parents = case.inventory.parents
    found = [entry.text for entry in derived(view, case.inventory)]
    outside = [name for name in found if not f"{name}.".startswith(roots)]
    above = set(_above(name for name, parent in parents.items() if not parent.plain))
    told = [n for n in outside if n not in hidden and (parents[n].matrix or n in above)]
    spoilt = above.union(_above(name for name in parents if f"{name}.".startswith(roots)))
    short = tuple(_joined(told, spoilt))
    yield short
    if (exact := tuple(told)) != short:
        yield exact


def _above(names: Iterable[str]) -> Iterator[str]:
    """Every dotted beginning of some names."""
    for name in names:
        yield from (name[:at] for at, letter in enumerate(name) if letter == ".")


def _joined(names: Iterable[str], spoilt: Collection[str]) -> dict[str, None]:
    """Names, those of a block that holds nothing else replaced by its beginning, with the dot."""
    blocks: dict[str, list[str]] = {}
    for name in names:
        free = (beginning for beginning in _above([name]) if beginning not in spoilt)
        root = next(free, None)
        blocks.setdefault(name if root is None else f"{root}.", []).append(name)
    return dict.fromkeys(
        entry for block, held in blocks.items() for entry in ([block] if len(held) > 1 else held)
    )
