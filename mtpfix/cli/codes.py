"""Finding codes as a user types them."""

from __future__ import annotations

from mtpfix.errors import UsageError
from mtpfix.report.codes import Explanation, explained

__all__ = ["SCHEMA", "Explanation", "explained", "explanation"]

SCHEMA = "mtpfix.explain/1"


def explanation(code: str) -> Explanation:
    """The explanation of one code, in any case.

    Raises:
        UsageError: there is no such code.
    """
    found = explained().get(code.strip().upper())
    if found is None:
        raise UsageError(f"no finding has the code {code}", f"codes: {', '.join(explained())}")
    return found
