"""A copy of the metadata in the text configuration, for a draft that finds none of its own."""

from __future__ import annotations

from collections.abc import Iterator

from mtpfix.changes.search import Proposer
from mtpfix.changes.state import Change, State
from mtpfix.model import FAILED
from mtpfix.repair import copies, progress
from mtpfix.repair.plan import Plan


class Copy(Proposer):
    """The copy, where a draft fails that reads its metadata anew."""

    def propose(self, state: State, best: State) -> Iterator[Change]:
        """Yield the one change: the copy."""
        cases = state.judgement.cases
        own = {(c.engine.name, c.release, c.platform) for c in cases if c.reads_its_own}
        failing = (e for e in best.judgement.planned.engines if e.outcome in FAILED)
        if not any((e.engine, e.version, e.platform) in own for e in failing):
            return
        edit = copies.copy(cases[0].view, state.configs)
        if edit is not None:
            yield Change(edits=(edit,), plan=Plan(cases[0].view, metadata_copied=True))

    def is_better(self, tried: State, best: State) -> bool:
        """Return whether any planned release fails no longer, and none is worse."""
        old, new = best.judgement.planned, tried.judgement.planned
        return progress.improved(old, new) and not progress.worsened(old, new)
