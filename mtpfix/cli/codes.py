"""Finding codes as a user types them."""

from __future__ import annotations

from mtpfix.errors import UsageError
from mtpfix.findings import Kind, kinds

SCHEMA = "mtpfix.explain/1"


def kind(code: str) -> Kind:
    """The kind of finding that has a code, in any case.

    Raises:
        UsageError: there is no such code.
    """
    found = kinds().get(code.strip().upper())
    if found is None:
        raise UsageError(f"no finding has the code {code}", f"the codes are {', '.join(kinds())}")
    return found


def view(one: Kind) -> dict[str, str]:
    """A kind of finding in words, as a document of `SCHEMA`."""
    words = {key: getattr(one, key) for key in ("code", "title", "meaning", "example", "remedy")}
    return {"schema": SCHEMA, **words}
