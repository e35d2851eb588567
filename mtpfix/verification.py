"""Asks the installed engine itself, and sets its answer against disk and prediction."""

from __future__ import annotations

from pathlib import Path

from mtpfix.api import read
from mtpfix.engines.verification import Verification, Verified
from mtpfix.selection import select

__all__ = ["Verification", "Verified", "verify"]


def verify(
    target: str | Path = ".",
    *,
    python: str | None = None,
    timeout: float = 600,
    draft: str | Path | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Verification:
    """Asks the vLLM of `python` (this interpreter by default) about a target.

    Nothing is loaded: modules are built on the meta device, in vLLM's own order.

    Args:
        target: a folder or a repo, as for `inspect`.
        python: path of an interpreter that has vLLM.
        timeout: seconds that vLLM may take to answer.
        draft: as for `inspect`.
        revision: as for `inspect`.
        token: as for `inspect`; vLLM never sees it.

    Raises:
        UnknownError: there is no vLLM, it died, or mtpfix does not know the family.
        MtpfixError: the target cannot be read.
    """
    selection = select()
    subject = read(target, draft, selection, revision=revision, token=token)
    (opening,) = subject.openings.values()
    return selection.engines[0].verify(opening.require(), python=python, timeout=timeout)
