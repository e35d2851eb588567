"""Entries and schemes: what the metadata must say. `repair/planner.py` finds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mtpfix.changes.search import Proposer
from mtpfix.changes.state import Change, State
from mtpfix.engines.base import EngineCase
from mtpfix.errors import RefusedError
from mtpfix.repair.plan import Options
from mtpfix.repair.planner import plan
from mtpfix.repair.verdicts import views_of
from mtpfix.repair.wider_targets import widened


@dataclass(frozen=True)
class Metadata(Proposer):
    """The fewest edits of the metadata that are right for all planned releases.

    Attributes:
        lists_only: whether nothing but the list of entries may change.
        engine: the one engine that is planned for, by its name; empty: all that read the list.
    """

    lists_only: bool = False
    engine: str = ""

    def propose(self, state: State, best: State) -> Iterator[Change]:
        """Yield the one change that the planner comes to."""
        del best
        if not state.judgement.required().has_metadata:
            return
        shared = state.sharing
        deciding = state.selection.deciding(shared)
        cases = [case for case in shared if self.engine in ("", case.engine.name)]
        only, configs = self.lists_only, state.configs
        made = plan(cases, cases[0].view, state.options, configs, deciding, lists_only=only)
        yield Change(edits=made.edits, plan=made)

    def is_better(self, tried: State, best: State) -> bool:
        """Return True: the planner has judged every edit already."""
        del tried, best
        return True

    def is_right(self, best: State) -> bool:
        """Return False: of a list that is right, an entry may still be too wide."""
        del best
        return False


@dataclass(frozen=True)
class Helps:
    """What would fix more of what decides than a repair does.

    Attributes:
        repair_trunk: the modules that are wrong and that `Options.repair_trunk` would fix.
        engine: the engine for which alone more would be fixed; or empty.
    """

    repair_trunk: tuple[str, ...] = ()
    engine: str = ""


def helps(made: State) -> Helps:
    """Return what would fix more than the metadata of a state do.

    Args:
        made: what `Metadata` made of its parent.
    """
    state = made.parent
    wrong = made.judgement.gating.exit_code == RefusedError.exit_code
    if state is None or not wrong or not state.judgement.has_metadata:
        return Helps()
    return Helps(tuple(_mended(state, made)), _alone(state, made))


def _mended(state: State, made: State) -> Iterator[str]:
    """Yield the modules that a plan would fix which may also correct the target model."""
    if state.options.repair_trunk:
        return
    shared = state.sharing
    wide = widened(shared, views_of(shared, shared[0].view), state.configs)
    wider = state.with_options(replace(state.options, repair_trunk=True))
    other = _better(Metadata(lists_only=not wide.edits), wider, made)
    if other is not None:
        stay = set(_wrong(other))
        yield from (name for name in _wrong(made) if name not in stay)


def _wrong(state: State) -> dict[str, None]:
    """Return the modules that findings of what decides name as wrong."""
    findings = (f for f in state.judgement.gating.findings if f.severity == "error" and f.decides)
    return dict.fromkeys(name for finding in findings for name in finding.modules)


def _alone(state: State, made: State) -> str:
    """Return the engine that decides, if what is planned for others too is worse for it."""
    shared = state.sharing
    deciding = {case.engine.name for case in state.selection.deciding(shared)}
    if len(deciding) != 1 or {case.engine.name for case in shared} == deciding:
        return ""
    (engine,) = deciding
    return engine if _better(Metadata(engine=engine), state, made) is not None else ""


def _better(other: Metadata, state: State, made: State) -> State | None:
    """Return what another plan comes to, if it leaves less wrong, for what decides; or None."""
    for change in other.propose(state, made):
        if change.edits and (change.plan is None or change.plan.refused is None):
            after = state.after(change)
            if after.judgement.is_better(made.judgement):
                return after
    return None


def unplanned(cases: Sequence[EngineCase], shared: Sequence[EngineCase]) -> Iterator[str]:
    """Yield that a repair is not planned for an engine, since it reads another list."""
    planned = {case.engine for case in shared}
    for engine in dict.fromkeys(case.engine for case in cases if case.engine not in planned):
        yield (
            f"{engine.title} reads another list than {shared[0].engine.title}: the repair is not "
            f"planned for it; `--engine {engine.name}` plans for it alone"
        )


def chosen(options: Options, *, explicit: bool) -> Options:
    """Return the options, with whether the user named the releases."""
    return replace(options, chosen_releases=explicit)
