"""Drafts that look like MTP or are taken for it, and are something else. Pure.

They are told by the architecture of their `config.json`, or, where they stand in the place
of an MTP block, by tensors that no MTP block has (`data/vllm/drafts.json`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mtpfix.engines.opening import OtherDraft, QuantizedBy
from mtpfix.engines.vllm.policy import drafts
from mtpfix.engines.vllm.records.engine import OtherDraftRow
from mtpfix.model import Json


def by_architecture(config: Mapping[str, Json]) -> OtherDraft | None:
    """The draft that a `config.json` is of; None for any other."""
    named = config.get("architectures")
    for architecture in named if isinstance(named, list) else ():
        for row in drafts():
            if architecture in row.architectures:
                return _draft(row, str(architecture), inside=False)
    return None


def by_tensors(names: Iterable[str]) -> OtherDraft | None:
    """The draft whose tensors stand where the MTP block belongs; None if it is an MTP block.

    Args:
        names: tensors below the roots of the MTP block.
    """
    marked = {marker: row for row in drafts() for marker in row.markers}
    for name in names:
        for part in name.split("."):
            if part in marked:
                return _draft(marked[part], name, inside=True)
    return None


def _draft(row: OtherDraftRow, evidence: str, *, inside: bool) -> OtherDraft:
    by: QuantizedBy = "target" if inside or evidence in row.by_target else "draft"
    by = "nothing" if row.plain else by
    return OtherDraft(row.title, row.method, row.releases, inside, evidence, by)
