"""How releases differ, and the tables of methods: data beside this package."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

from mtpfix import facts
from mtpfix.engines.policies.context import in_releases
from mtpfix.engines.policies.files import parse
from mtpfix.engines.sglang.methods.records import Rules
from mtpfix.errors import UnknownError

DEPTH = 3
"""Numbers of a version that tell releases of SGLang apart: 0.5.23."""
_Table = TypeVar("_Table")
_FOLDER = "engines/sglang/methods"


def rules(key: str, release: str) -> Any:
    """Return a rule, such as `heads_by_name`, as it is in `release`.

    Raises:
        UnknownError: nothing is known of that release.
    """
    for row in getattr(_rules(), key):
        if in_releases(row.releases, release, DEPTH):
            return row.value
    raise UnknownError(f"no rule {key!r} for SGLang {release}", "see `mtpfix families`")


@lru_cache(maxsize=1)
def _rules() -> Rules:
    return table("rules.json", Rules)


def table(path: str, record: type[_Table]) -> _Table:
    """Return a file of this package, parsed into a record."""
    return parse(facts.content(f"{_FOLDER}/{path}"), record, path)
