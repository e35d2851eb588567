"""Whether an edit of `config.json` leaves the target model alone. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from mtpfix.engines.base import EngineCase
from mtpfix.errors import RefusedError


def refusal(before: Iterable[EngineCase], after: Iterable[EngineCase]) -> RefusedError | None:
    """Return what an edit would change for the target model, or None.

    Args:
        before: the releases and platforms, as the files are.
        after: the same, as the files would be.
    """
    known = {_key(case): _built(case) for case in before}
    for case in after:
        old, new = known.get(_key(case)), _built(case)
        if old is not None and old != new:
            name = next(name for name in {**old, **new} if old.get(name) != new.get(name))
            return RefusedError(
                f"this would change {name!r:.120} of the target model on {case.engine.title} "
                f"{case.release}",
                "compare config.json with that of the base",
            )
    return None


def _key(case: EngineCase) -> tuple[str, str, str]:
    return case.engine.name, case.release, case.platform


def _built(case: EngineCase) -> dict[str, tuple[str, str | None]]:
    """Return what is built for each module of the target model."""
    decisions = (report.decision for report in case.part(case.view, "trunk"))
    return {d.module.param or d.module.name: (d.built, d.scheme) for d in decisions}
