"""Asks the installed engine itself, and sets its answer against disk and prediction."""

from __future__ import annotations

from pathlib import Path

from mtpfix.api import read
from mtpfix.checkpoint.source import Source
from mtpfix.engines.registry import DEFAULT
from mtpfix.engines.verification import Verification, Verified
from mtpfix.selection import select

__all__ = ["Verification", "Verified", "verify"]


def verify(
    target: str | Path | Source = ".",
    *,
    engine: str = DEFAULT,
    python: str | None = None,
    timeout: float = 600,
    draft: str | Path | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Verification:
    """Asks the engine of `python` (this interpreter by default) about a target.

    Nothing is loaded: modules are built on the meta device, in the engine's own order.

    Args:
        target: a folder or a repo, as for `inspect`.
        engine: its name.
        python: path of an interpreter that has it.
        timeout: seconds that it may take to answer.
        draft: as for `inspect`.
        revision: as for `inspect`.
        token: as for `inspect`; the engine never sees it.

    Raises:
        UnknownError: there is no such engine, it died, or mtpfix does not know the family.
        MtpfixError: the target cannot be read.
    """
    selection = select(engines=[engine])
    subject = read(target, draft, selection, revision=revision, token=token)
    (asked,) = selection.engines
    opening = subject.openings[asked]
    return asked.verify(opening.require(), python=python, timeout=timeout)
