"""Targets that a config group lacks for quantized modules of the target model. Pure.

Engines may ask by another name than the checkpoint's, which no target of a group fits, though its
other modules are right. The group gets a target for exactly those names. It counts only where it
makes modules right, and moves nothing that was right, in any case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mtpfix.checkpoint.scheme import Scheme
from mtpfix.engines.base import EngineCase
from mtpfix.errors import MtpfixError
from mtpfix.model import Edit, JsonFile, ModuleReport, QuantView
from mtpfix.quant import schemes
from mtpfix.repair.shares import untargeted
from mtpfix.repair.stages import edited
from mtpfix.repair.verdicts import Views, for_each, read_again


class Widened(NamedTuple):
    """The metadata with more targets.

    Attributes:
        views: as each engine reads them.
        configs: the files that state them, by name.
        edits: what makes them; empty: nothing helps.
        schemes: which groups get which targets, in words.
    """

    views: Views
    configs: Mapping[str, JsonFile]
    edits: tuple[Edit, ...] = ()
    schemes: tuple[str, ...] = ()


def widened(cases: Sequence[EngineCase], views: Views, configs: Mapping[str, JsonFile]) -> Widened:
    """Return the metadata with the targets that help.

    Args:
        cases: one checkpoint under several releases and platforms.
        views: the metadata as they are, as each engine reads them.
        configs: the files that state them, by name.
    """
    best = Widened(views, configs)
    for way, names in untargeted(cases, views).items():
        tried = _with(best, views[cases[0].engine], configs, way, names)
        right = None if tried is None else _made_right(cases, views, tried.views)
        if tried is None or not right:
            continue
        needed = [name for name in names if name.removesuffix(".") in right]
        if needed != names:
            tried = _with(best, views[cases[0].engine], configs, way, needed)
        if tried is not None and _made_right(cases, views, tried.views):
            best = tried
    return best


def _with(
    best: Widened,
    view: QuantView,
    configs: Mapping[str, JsonFile],
    way: Scheme,
    names: Sequence[str],
) -> Widened | None:
    """Return the metadata with targets for some names too; None: no group has their scheme."""
    proposal = schemes.wider_targets(view, way, names)
    if proposal is None or not proposal.edits:
        return None
    edits = (*best.edits, *proposal.edits)
    try:
        files = edited(configs, edits)
        views = read_again(best.views, files)
    except MtpfixError:
        return None
    if views is None:
        return None
    return Widened(views, files, edits, (*best.schemes, *proposal.schemes))


def _made_right(cases: Sequence[EngineCase], old: Views, new: Views) -> set[str] | None:
    """Return the names of modules that become right; None: something moves that may not."""
    right: set[str] = set()
    for before, after in zip(for_each(cases, old, _all), for_each(cases, new, _all), strict=True):
        becomes = {report.decision.module: report for report in after}
        for was in before:
            will = becomes.get(was.decision.module)
            if will is None or (_built(was) != _built(will) and not _may_move(was, will)):
                return None
            if was.agrees is False and will.agrees:
                right.add(was.decision.module.name)
    return right


def _all(case: EngineCase, view: QuantView) -> tuple[ModuleReport, ...]:
    return (*case.judged(view, case.trunk), *case.judged(view, case.draft))


def _may_move(was: ModuleReport, will: ModuleReport) -> bool:
    if was.agrees is False:
        return will.agrees is True or will.consequence == was.consequence
    # A head of the draft that the target model's own replaces is right however it is built.
    return was.replaced and will.agrees is True


def _built(report: ModuleReport) -> tuple[object, ...]:
    made = report.decision
    return made.built, made.scheme, made.expects, made.packing, made.block
