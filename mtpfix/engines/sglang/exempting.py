"""The environment variable by which fp8 spares a draft, where it spares nothing else. Pure.

`SGLANG_FP8_IGNORED_LAYERS` is read by target and draft alike, and its entries stand behind those of
the metadata. Source: `Fp8Config.__init__`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from mtpfix.engines.base import EngineCase
from mtpfix.model import Built, Entry, QuantView

VARIABLE = "SGLANG_FP8_IGNORED_LAYERS"
_METHOD = "fp8"


def environment(cases: Sequence[EngineCase]) -> Mapping[str, str]:
    """Return the variable that makes all cases right and moves no target; empty: none does."""
    if any(case.view.method != _METHOD for case in cases):
        return {}
    for root in _roots(cases):
        if all(_serves(case, root) for case in cases):
            return {VARIABLE: root}
    return {}


def _roots(cases: Sequence[EngineCase]) -> Iterator[str]:
    """Yield beginnings of names that are the draft's alone in every case."""
    for root in cases[0].draft_roots if cases else ():
        if all(root in case.draft_roots for case in cases):
            yield root.removesuffix(".")


def _serves(case: EngineCase, root: str) -> bool:
    """Return whether an entry makes the draft right and leaves the target as it is."""
    view = case.view
    # `written`: the entry is read as it is, without the second spelling that others get.
    more = replace(view, ignore=(*view.ignore, Entry(root, "", "", written=root)))
    wrong = (r.agrees is False or r.consequence for r in case.judged(more, case.draft))
    return not any(wrong) and _trunk(case, view) == _trunk(case, more)


def _trunk(case: EngineCase, view: QuantView) -> list[tuple[Built, str | None]]:
    decisions = case.decide(view, case.trunk)
    return [(decision.built, decision.scheme) for decision in decisions]
