"""Other names for the scales of an MTP block, where only the names are wrong: found by trial.

What metadata alone can repair is repaired by metadata alone. Where something is left wrong, the
target is read as if scales had other names, and planned for again. The fewest renames count that
leave the fewest releases wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mtpfix.changes.search import Proposer, search
from mtpfix.changes.state import Change, State
from mtpfix.checkpoint.precision import by_module
from mtpfix.errors import RefusedError
from mtpfix.model import FAILED, Report
from mtpfix.repair import renames
from mtpfix.subject import Subject

WRONG = RefusedError.exit_code
"""The exit code of a report in which something is wrong."""
_SHOWN = 3
"""Modules that a reason names."""
HINT = (
    "the scales of the MTP block have names that no metadata fits: `mtpfix rewrite "
    "--rename-tensors` gives them others"
)


@dataclass
class Names(Proposer):
    """Other names for scales.

    Attributes:
        wrong: the modules of the draft that are wrong without other names, and in each trial.
    """

    wrong: list[dict[str, None]] = field(default_factory=list)

    def propose(self, state: State, best: State) -> Iterator[Change]:
        """Yield renames that could help, the fewest first, if something is wrong that decides."""
        judged = best.judgement
        if judged.gating.exit_code != WRONG or not state.judgement.has_metadata:
            return
        self.wrong.append(dict.fromkeys(_wrong(judged.gating)))
        for names in candidates(state.subject, judged.gating):
            yield Change(renames=names)

    def is_better(self, tried: State, best: State) -> bool:
        """Return whether less is wrong that decides, and no planned release newly fails."""
        self.wrong.append(dict.fromkeys(_wrong(tried.judgement.gating)))
        new, old = tried.judgement, best.judgement
        if not new.is_better(old) or new.newly_failing(old):
            return False
        return not best.renames or _failing(new.gating) < _failing(old.gating)

    def is_right(self, best: State) -> bool:
        """Return whether all is right that decides."""
        return not _failing(best.judgement.gating)

    @property
    def reason(self) -> str:
        """Why no name helps, as far as that is known."""
        said = "no other names for scales of the MTP block make a release right that decides"
        first = self.wrong[0] if self.wrong else {}
        stays = [name for name in first if all(name in wrong for wrong in self.wrong)]
        shown = ", ".join(f"`{name}`" for name in stays[:_SHOWN])
        more = f" and {len(stays) - _SHOWN} more" if len(stays) > _SHOWN else ""
        return f"{said}: with each of them {shown}{more} cannot be loaded" if shown else said


def would_help(state: State, best: State, rest: Sequence[Proposer]) -> bool:
    """Return whether other names would fix more of what decides than a repair does.

    Args:
        state: the target.
        best: what other kinds of repair make of it.
        rest: these kinds.
    """
    cases = state.judgement.cases
    deciding = state.selection.deciding(cases) if cases else ()
    if not deciding:
        return False
    narrow = state.narrowed(deciding)
    return any(
        search(narrow.after(change), rest).judgement.is_better(best.judgement)
        for change in Names().propose(narrow, best)
    )


def block(subject: Subject) -> frozenset[str]:
    """Return the names of all tensors of the MTP block."""
    readings = subject.readings.values()
    return frozenset(name for reading in readings for name in reading.block.tensors)


def candidates(subject: Subject, report: Report) -> list[dict[str, str]]:
    """Return renames that could help, the fewest first."""
    modules = by_module(block(subject))
    reports = [m for engine in report.engines for m in engine.modules]
    experts = {n for m in reports if m.decision.module.kind == "experts" for n in m.members}
    experts &= modules.keys()
    others = modules.keys() - experts
    return renames.candidates(subject.files.inventory, sorted(experts), sorted(others))


def _wrong(report: Report) -> Iterator[str]:
    """Yield the modules of the draft that are built otherwise than they are stored."""
    modules = (module for engine in report.engines for module in engine.modules)
    for module in modules:
        if module.agrees is False and module.decision.module.part == "draft":
            yield module.decision.module.name


def _failing(report: Report) -> int:
    return sum(engine.outcome in FAILED for engine in report.engines)
