"""Whether a repair leaves a checkpoint better or worse than it was, release by release. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mtpfix.model import FAILED, EngineReport, Outcome, Report

_RANKS: Mapping[Outcome, int] = {
    "clean": 0,
    "no_mtp": 0,
    "unknown": 1,
    "silent_garbage": 2,
    "load_error": 3,
}
"""How bad an outcome is for whoever serves the checkpoint: a server that starts is better than
one that does not."""


def improved(before: Report, after: Report) -> bool:
    """Return whether a release that fails before the repair does not fail after it.

    Where no release fails, errors in the files count: whether there are fewer of them.

    Args:
        before: the report on the files as they are.
        after: the report on the files as they would be, for the same releases and platforms.
    """
    pairs = list(_pairs(before, after))
    if any(old.outcome in FAILED and new.outcome not in FAILED for old, new in pairs):
        return True
    fails = any(old.outcome in FAILED for old, _ in pairs)
    return not fails and _errors(after) < _errors(before)


def worsened(before: Report, after: Report) -> tuple[EngineReport, ...]:
    """Return the releases of `after` in which the outcome is worse, or another module is wrong."""
    return tuple(new for old, new in _pairs(before, after) if _is_worse(old, new))


def spoilt(before: Report, after: Report) -> tuple[EngineReport, ...]:
    """Return the releases of `after` that fail although they do not in `before`."""
    return tuple(
        new
        for old, new in _pairs(before, after)
        if new.outcome in FAILED and old.outcome not in FAILED
    )


def _pairs(before: Report, after: Report) -> Iterator[tuple[EngineReport, EngineReport]]:
    """Each release and platform before and after."""
    known = {(each.engine, each.version, each.platform): each for each in before.engines}
    for engine in after.engines:
        old = known.get((engine.engine, engine.version, engine.platform))
        if old is not None:
            yield old, engine


def _is_worse(old: EngineReport, new: EngineReport) -> bool:
    return _RANKS[new.outcome] > _RANKS[old.outcome] or not _wrong(new) <= _wrong(old)


def _wrong(engine: EngineReport) -> set[tuple[str, str]]:
    """Part and parameter path of every module that cannot take what is on disk."""
    modules = (module for module in engine.modules if module.agrees is False)
    return {(m.decision.module.part, m.decision.module.param) for m in modules}


def _errors(report: Report) -> int:
    return sum(finding.severity == "error" for finding in report.findings)
