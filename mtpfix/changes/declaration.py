"""The declaration of an MTP block, taken out where the block is not to be had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mtpfix.changes.repair import Repair
from mtpfix.changes.rewrite import repaired
from mtpfix.changes.search import Proposer, search
from mtpfix.changes.state import Change, State
from mtpfix.checkpoint.load import CONFIG
from mtpfix.checkpoint.source import Source
from mtpfix.errors import RefusedError
from mtpfix.grafts import fields, target_model
from mtpfix.model import Edit, Report
from mtpfix.selection import Selection
from mtpfix.subject import open_subject


def plan(source: Source, selection: Selection) -> Repair:
    """Return the fewest edits after which no release expects an MTP block.

    Raises:
        RefusedError: no edit does that, or it would change the target model.
        MtpfixError: the target cannot be read or judged.
    """
    start = State(source, open_subject(source, selection.engines), selection)
    judged = start.judgement
    if not judged.cases:
        judged.required()
    dropped = Declaration(start)
    best = search(start, (dropped,))
    if best is start and any(case.mtp_layers for case in judged.cases):
        raise dropped.refused or RefusedError(
            "no field of config.json takes the MTP block out: this family has it always",
            "bring the block back: mtpfix graft TARGET --from BASE",
        )
    return replace(repaired(start, best), purpose="graft --drop")


class Declaration(Proposer):
    """The edits of `config.json` that may take the declaration out.

    Args:
        start: the target as it is.

    Attributes:
        refused: what an edit would change for the target model.
    """

    def __init__(self, start: State) -> None:
        self._start = start
        self.refused: RefusedError | None = None

    def propose(self, state: State, best: State) -> Iterator[Change]:
        """Yield edits that may do it: 0, then no field, then a field that says 0."""
        del best
        config = state.subject.files.config
        engine = state.selection.engines[0]
        family = state.subject.readings[engine].family
        text = family.text if family else ""
        stated = tuple(fields.declarations(config, text, engine.mtp_keys))
        zeros = tuple(Edit(CONFIG, pointer, "replace", 0) for pointer in stated)
        if stated:
            yield Change(zeros)
            yield Change(tuple(Edit(CONFIG, pointer, "remove") for pointer in stated))
        place = fields.text_section(config, text).pointer
        for key in engine.mtp_keys:
            if f"{place}/{key}" not in stated:
                yield Change((*zeros, Edit(CONFIG, f"{place}/{key}", "add", 0)))

    def is_better(self, tried: State, best: State) -> bool:
        """Return whether no release expects a block, and the target model is as it was."""
        del best
        after = tried.judgement.cases
        if not after or any(case.mtp_layers for case in after):
            return False
        moved = target_model.refusal(self._start.judgement.cases, after)
        self.refused = moved or _leftovers(tried.judgement.gating)
        return self.refused is None

    def is_right(self, best: State) -> bool:
        """Return whether no release expects a block."""
        return not any(case.mtp_layers for case in best.judgement.cases)


def _leftovers(after: Report) -> RefusedError | None:
    """Return why tensors of the block that stay keep the target model from loading, or None."""
    found = (f for f in after.findings if f.code == "MTP002" and f.severity == "error")
    stays = next((f for f in found if f.decides), None)
    if stays is None:
        return None
    return RefusedError(
        stays.message,
        "remove these tensors from the weight files and from the index first, or bring the rest of "
        "the block back: mtpfix graft TARGET --from BASE",
    )
